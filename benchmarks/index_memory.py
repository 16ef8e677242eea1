"""What ten million videos cost: seconds to read their list, memory of the loader's workers.

    python benchmarks/index_memory.py [--rows 10000000] [--list-rows 1000000] [--workers 4]

Each line is one way to hold the rows in a DataLoader with forked or spawned workers, after every worker has looked at
every row, in MiB. PSS shares a page among the processes that map it, so "all PSS", the sum over parent and workers, is
what the machine spends; "own" is what a worker has for itself alone. The first lines, with a single row, are what
processes cost anyway.
"""

import argparse
import tempfile
import time
import warnings
from pathlib import Path

import psutil
import torch
from torch.utils.data import DataLoader, Dataset

from kinema.data.lists.annotations import read_index
from kinema.data.lists.index import Index, index_paths

Tuples = list[tuple[str, int]]


class Rows(Dataset[int]):
    """Looks at every row in one worker and answers with that worker's process id."""

    def __init__(self, rows: Index | Tuples, workers: int) -> None:
        self.rows = rows
        self.workers = workers

    def __len__(self) -> int:
        return self.workers

    def __getitem__(self, worker: int) -> int:
        torch.set_num_threads(1)
        if isinstance(self.rows, Index):
            index = self.rows
            for array in (index.path_bytes, index.offsets, index.labels, index.frame_counts, index.lines):
                array.max()
        else:
            sum(len(path) + label for path, label in self.rows)
        return psutil.Process().pid


def write_list(path: Path, rows: int) -> None:
    with path.open("w") as file:
        for start in range(0, rows, 100_000):
            numbers = range(start, min(start + 100_000, rows))
            file.writelines(f"class_{i % 400:03d}/video_{i:08d}_000010_000020.mp4 {i % 400}\n" for i in numbers)


def read_tuples(path: Path) -> Tuples:
    with path.open() as file:
        return [(name, int(label)) for name, label in (line.rsplit(maxsplit=1) for line in file)]


def measure(name: str, rows: Index | Tuples, method: str, workers: int) -> None:
    loader = DataLoader(
        Rows(rows, workers), batch_size=None, num_workers=workers, multiprocessing_context=method,
        persistent_workers=True,
    )  # fmt: skip
    pids = set(loader)
    parent = psutil.Process().memory_full_info()
    children = [psutil.Process(pid).memory_full_info() for pid in pids]
    worst = max(children, key=lambda child: child.uss)
    sizes = (parent.pss + sum(child.pss for child in children), parent.rss, parent.pss, worst.rss, worst.pss, worst.uss)
    print(f"{name:<22}{len(rows):>12,} {method:>6}" + "".join(f"{size / 2**20:12.0f}" for size in sizes), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of the index")
    parser.add_argument("--list-rows", type=int, default=1_000_000, help="rows of the Python list beside it")
    parser.add_argument("--workers", type=int, default=4)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="This DataLoader will create")
    columns = ("all PSS", "parent RSS", "parent PSS", "worker RSS", "worker PSS", "worker own")
    print(f"{'MiB':<22}{'rows':>12} {'start':>6}" + "".join(f"{column:>12}" for column in columns))
    nothing = index_paths(["a.mp4"], source="", root="")
    for method in ("fork", "spawn"):
        measure("one row", nothing, method, options.workers)
    with tempfile.TemporaryDirectory() as folder:
        annotation = Path(folder, "train.txt")
        write_list(annotation, options.rows)
        start = time.perf_counter()
        index = read_index(annotation, kind="video")
        seconds = time.perf_counter() - start
        print(f"read_index: {len(index):,} rows, {annotation.stat().st_size / 2**20:.0f} MiB, in {seconds:.1f} s")
        for method in ("fork", "spawn"):
            measure("Index", index, method, options.workers)
        del index
        write_list(annotation, options.list_rows)
        tuples = read_tuples(annotation)
        for method in ("fork", "spawn"):
            measure("Python list of tuples", tuples, method, options.workers)


if __name__ == "__main__":
    main()
