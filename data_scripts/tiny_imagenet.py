"""Fetches Tiny ImageNet (248 MB), or takes tiny-imagenet-200.zip or its folder, unzipped.

Run: python data_scripts/tiny_imagenet.py [--data-dir DIR]
"""

from common import main

if __name__ == "__main__":
    main("tiny-imagenet")
