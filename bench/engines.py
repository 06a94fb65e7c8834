"""Coloring in threads against a Ray cluster of this machine: python bench/engines.py FOLDER [COUNT]

COUNT pictures of a folder, then ten times as many (copies, if it has fewer), each in a process of
its own. "start" is the time until the first picture is done, start of Ray and of its workers
included; images/s are those after it, and over all. Memory is the peak of the process that the
command runs in, without Ray's workers.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from colourgan.images import list_images

ONE = """
import resource, sys, threading, time
from pathlib import Path
from colourgan.colorize import Colorizer, colorize_files, colorize_on_ray
engine, folder, out = sys.argv[1:]
first = []

def watch():  # until the first file is there
    while not first:
        if Path(out).is_dir() and any(each.name[0] != "." for each in Path(out).iterdir()):
            first.append(time.perf_counter())
        time.sleep(0.01)

began = time.perf_counter()
threading.Thread(target=watch, daemon=True).start()
if engine == "ray":
    done = colorize_on_ray([folder], {}, out, progress=False)
else:
    done = colorize_files([folder], Colorizer(), out, progress=False)
ended = time.perf_counter()
assert all(each.state == "colored" for each in done)
start = first[0] - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f"{engine:6} {len(done):6} {start:9.1f} {(len(done) - 1) / (ended - first[0]):14.2f} "
      f"{len(done) / (ended - began):10.2f} {peak:8.0f}")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("count", type=int, nargs="?", default=100)
    given = parser.parse_args()
    images = list_images(given.folder)
    print("engine pictures start (s) images/s after images/s  peak MB")
    with tempfile.TemporaryDirectory() as place:
        for count in (given.count, 10 * given.count):
            pictures = Path(place) / str(count)
            pictures.mkdir()
            for i in range(count):
                source = images[i % len(images)]
                shutil.copy(source, pictures / f"{i:06d}{source.suffix}")
            for engine in ("local", "ray"):
                out = str(Path(place) / f"{engine}-{count}")
                command = [sys.executable, "-c", ONE, engine, str(pictures), out]
                print(subprocess.run(command, check=True, text=True, stdout=-1).stdout, end="")


if __name__ == "__main__":
    main()
