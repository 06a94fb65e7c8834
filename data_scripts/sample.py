"""Cuts the built-in data set `sample` out of photographs that installed libraries bring along.

Run: python data_scripts/sample.py [--data-dir DIR]
"""

from common import main

if __name__ == "__main__":
    main("sample")
