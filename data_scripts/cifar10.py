"""Fetches CIFAR-10 (168 MB) from fastai's address, or unpacks cifar10.tgz from the data folder.

Run: python data_scripts/cifar10.py [--data-dir DIR]
"""

from common import main

if __name__ == "__main__":
    main("cifar10")
