"""Memory and speed of a streamed training: python bench/stream.py DATA [--limit N] [--size S]

Images a second of the stream alone, from its files to (L, ab) on the CPU, of one epoch; then those
of a training on it, `pretrain` with a U-Net on resnet20 without weights; and the highest resident
memory that this process and the largest of those that decode had. Compare it between streams of
different lengths.
"""

import argparse
import tempfile
import time
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

from colourgan.datasets import color_dataloaders
from colourgan.datasets.streams import workers
from colourgan.learners import pretrain, read_history

MB = 1e6 / 1024  # of what Linux counts in KiB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="as for --data: shards or hf:NAME")
    parser.add_argument("--limit", type=int, help="images of an epoch")
    parser.add_argument("--size", type=int, default=32, help="pixels")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--alone", action="store_true", help="without a training")
    asked = parser.parse_args()
    dls = color_dataloaders(asked.data, asked.size, asked.batch_size, asked.limit)
    start = time.perf_counter()
    count = sum(len(L) for L, _ in dls.train)
    rate = count / (time.perf_counter() - start)
    print(f"stream alone: {rate:.0f} images/s, {count} images, {workers()} processes decode")
    if not asked.alone:
        with tempfile.TemporaryDirectory() as folder:
            run = pretrain(
                encoder="resnet20@none", data=asked.data, limit=asked.limit, size=asked.size,
                batch_size=asked.batch_size, epochs=1, frozen_epochs=0, device="cpu",
                out=Path(folder, "run"),
            )  # fmt: skip
            rate = dls.train.n / read_history(run)[0]["seconds"]
        print(f"training on it: {rate:.0f} images/s, {len(dls.train)} steps")
    peaks = [getrusage(who).ru_maxrss / MB for who in (RUSAGE_SELF, RUSAGE_CHILDREN)]
    print(f"highest resident memory: {peaks[0]:.0f} MB, of those that decode {peaks[1]:.0f} MB")


if __name__ == "__main__":
    main()
