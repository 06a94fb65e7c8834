from colourgan.cli import main

main()
