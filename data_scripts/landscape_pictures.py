"""Converts Landscape Pictures: landscape-pictures.zip, or archive.zip, from Kaggle's page.

Put it, or the folder landscape_pictures unpacked from it, into the data folder first.

Run: python data_scripts/landscape_pictures.py [--data-dir DIR]
"""

from common import main

if __name__ == "__main__":
    main("landscape-pictures")
