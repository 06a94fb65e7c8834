"""Converts Places365: val_256.tar, train_256_places365standard.tar or the easyformat archive.

Put one of them, or the first two, into the data folder first.

Run: python data_scripts/places365.py [--data-dir DIR]
"""

from common import main

if __name__ == "__main__":
    main("places365")
