"""Fetches the COCO sample (3.2 GB) from fastai's address, or takes coco_sample.tgz or coco_sample/.

Run: python data_scripts/coco_sample.py [--data-dir DIR]
"""

from common import main

if __name__ == "__main__":
    main("coco-sample")
