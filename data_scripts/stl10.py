"""Fetches STL-10 (2.6 GB), or takes stl10_binary.tar.gz or stl10_binary/ in the data folder.

Run: python data_scripts/stl10.py [--data-dir DIR]
"""

from common import main

if __name__ == "__main__":
    main("stl10")
