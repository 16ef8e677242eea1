"""Damaged videos and frames through the readers and the loader: what becomes of them.

    python -m benchmarks.fuzz_data --sources FOLDER [--files 2000] [--seed 0] [--reader pyav torchcodec] [--json]
        [--form video rawframes packed packed_flow]

Short cuts of the videos in FOLDER, folders of frames and packed files made of them, are damaged in one of many ways
each. Every case is read by each reader, and by a ViewDataset and a DataLoader with a worker process. It must end as a
sample of the right shape or as exactly one bad file: anything else is a defect, listed with the case's number, which
together with the seed makes the case again (--only NUMBER). Cases run in a child process, so that a crash, or a hang
beyond --limit seconds, is known by its case; the child's memory is limited and its growth is reported.
"""

import argparse
import dataclasses
import json
import logging
import multiprocessing
import re
import resource
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import torch
from benchmarks.fuzz_cases import Case, make_case, make_sources, remove

from kinema.data.bad_files import BadFiles
from kinema.data.crops import ViewCrops
from kinema.data.dataset import ViewDataset
from kinema.data.kinds import FLOW, Reader, Source
from kinema.data.lists.index import index_paths
from kinema.data.loader import EvalBatches, load
from kinema.data.options import DataOptions
from kinema.data.readers.reader import FrameReader
from kinema.data.readers.sources import Opener, reader_in_use
from kinema.data.readers.timeout import within
from kinema.data.sampling import Sampling
from kinema.data.views import Views
from kinema.errors import MediaError
from kinema.storage import Direct

VIEWS = Views(sampling=Sampling(clip_len=4, frame_interval=2, num_clips=2), crops=ViewCrops(short_side=32, size=32))
FORMS: tuple[Source, ...] = ("video", "rawframes", "packed", "packed_flow")
CHUNK = 25  # cases that one loader reads
MEMORY = 6 << 30  # bytes that a child may map beyond what it starts with


@dataclass
class Report:
    """Outcomes by "kind, way" and defects by case."""

    files: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    defects: list[str] = field(default_factory=list)
    rss: list[float] = field(default_factory=list)
    """Memory of the child in MiB, after each chunk of cases; from the last one that was started."""
    slowest: dict[str, float] = field(default_factory=dict)


# What the child does. It sends (way, case number, outcome) for each case and way of reading it.


def open_case(case: Case, reader: Reader) -> FrameReader:
    return Opener(source=case.form, storage=Direct(), reader=reader).open(case.path, count=case.count)


def channels(case: Case) -> int:
    return 2 if case.form in FLOW else 3


def read_directly(case: Case, reader: Reader, timeout: float) -> str:
    def read() -> torch.Tensor:
        video = open_case(case, reader)
        count = len(video)
        return video.frames([count - 1, 0, count // 2, 0, count // 3])

    try:
        frames = within(timeout, case.path, read)
    except MediaError as error:
        sound = (
            error.path == case.path and 0 < len(error.reason) < 300 and not re.search(r"\n|0x[0-9a-f]{6}", str(error))
        )
        return "bad" if sound else f"defect: message {error}"
    except Exception as error:  # any other one is what is looked for
        return f"defect: {type(error).__name__}: {error}"
    right = frames.shape[0] == 5 and frames.shape[-1] == channels(case) and frames.ndim == 4 and min(frames.shape) > 0
    if not (right and frames.dtype == torch.uint8 and frames.is_contiguous()):
        return f"defect: frames {tuple(frames.shape)} {frames.dtype}"
    return "sample"


def read_by_loader(cases: Sequence[Case], reader: Reader, timeout: float, workers: int) -> Iterator[tuple[int, str]]:
    index = index_paths([case.path for case in cases], source="", root="/")
    index.frame_counts[:] = torch.tensor([case.count or 0 for case in cases])
    index.labels[:] = torch.arange(len(cases))
    options = DataOptions(source=cases[0].form, reader=reader, decode_timeout=timeout)
    account = BadFiles(num_videos=len(cases), max_fraction=1)
    bad = 0
    loader = load(ViewDataset(index, VIEWS, options), EvalBatches(len(cases), 1), workers=workers)
    for case, batch in zip(cases, loader, strict=True):
        account.add(batch.bad)
        bad += len(batch.bad)
        if len(batch) == 1 and not batch.bad:
            right = tuple(batch.inputs.shape[1:]) == (2, 4, channels(case), 32, 32)  # what VIEWS make of a video
            right = right and batch.inputs.dtype == torch.uint8
            place = cases.index(case)
            right = right and batch.rows.tolist() == batch.targets.tolist() == [place]
            yield case.number, "sample" if right else f"defect: clips {tuple(batch.inputs.shape)}"
        elif len(batch) == 0 and [file.path for file in batch.bad] == [case.path]:
            yield case.number, "bad" if len(account) == bad else "defect: counted wrongly"
        else:
            yield case.number, f"defect: {len(batch)} samples and {len(batch.bad)} bad files"


def child(pipe: Connection, chunks: list[list[Case]], readers: list[Reader], timeout: float) -> None:
    logging.disable()  # each bad file would be a line
    warnings.filterwarnings("ignore", module="PIL")
    multiprocessing.set_start_method("fork", force=True)  # of the loaders' workers: many are started
    torch.set_num_threads(1)
    for reader in readers:  # an alarm in the middle of an import would leave half a module behind
        reader_in_use(reader)
    space = psutil.Process().memory_info().vms + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    for chunk in chunks:
        for form in FORMS:
            cases = [case for case in chunk if case.form == form]
            for reader in readers if form == "video" else readers[:1]:
                way = reader if form == "video" else form
                for case in cases:
                    pipe.send((way, case.number, "started"))
                    pipe.send((way, case.number, read_directly(case, reader, timeout)))
                if cases:
                    _send_loaded(pipe, cases, reader, timeout, f"{way} loader")
        pipe.send(("rss", 0, psutil.Process().memory_info().rss / 2**20))
    pipe.send(("end", 0, ""))


def _send_loaded(pipe: Connection, cases: list[Case], reader: Reader, timeout: float, way: str) -> None:
    """A worker that dies or raises is known by its case only when it reads that case alone."""
    outcomes = dict[int, str]()
    pipe.send((way, cases[0].number, "started"))
    try:
        for number, outcome in read_by_loader(cases, reader, timeout, workers=1):
            outcomes[number] = outcome
            pipe.send((way, number, outcome))
    except Exception as error:  # any one is a defect of the case after the last outcome
        fault = f"defect: {type(error).__name__}: {str(error).strip().splitlines()[-1]}"
        rest = [case for case in cases if case.number not in outcomes]
        pipe.send((way, rest[0].number, fault))
        if rest[1:]:
            _send_loaded(pipe, rest[1:], reader, timeout, way)


# What the parent does


def run(
    sources: Path, *, files: int, seed: int, readers: list[Reader], limit: float = 30, timeout: float = 2,
    only: int | None = None, forms: Sequence[Source] = FORMS, tell: Callable[[str], None] = lambda _line: None,
) -> Report:  # fmt: skip
    """Try `files` cases, each of which may take `limit` seconds where it is read; `timeout` is the dataset's own."""
    report = Report(files=files)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        made = make_sources(sources, work)
        chosen = {form: made[form] for form in forms}
        numbers = range(files) if only is None else [only]
        for first in range(0, len(numbers), 20 * CHUNK):
            part = [make_case(number, seed, chosen, work) for number in numbers[first : first + 20 * CHUNK]]
            _try(part, readers, limit, timeout, report)
            for case in part:
                remove(case)
            rss = f"{report.rss[-1]:.0f} MiB" if report.rss else ""
            tell(f"{first + len(part)} files, {len(report.defects)} defects, {rss}")
    return report


def _try(cases: list[Case], readers: list[Reader], limit: float, timeout: float, report: Report) -> None:
    """Run the cases in a child, and those that remain in another one when it dies or hangs."""
    by_number = {case.number: case for case in cases}
    while cases:
        chunks = [cases[first : first + CHUNK] for first in range(0, len(cases), CHUNK)]
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=child, args=(theirs, chunks, readers, timeout))
        process.start()
        theirs.close()
        way, number, fault, since = "start", cases[0].number, "", time.monotonic()
        while True:
            try:
                if not ours.poll(limit + 60 * (way == "start")):
                    fault = f"defect: hangs for {limit:g} s"
                    break
                way, number, outcome = ours.recv()
            except EOFError:
                process.join()
                fault = f"defect: process died ({process.exitcode})"
                break
            if way == "end":
                process.join()
                return
            if way == "rss":
                report.rss.append(outcome)
            elif outcome == "started":
                since = time.monotonic()
            else:
                now = time.monotonic()
                _note(report, by_number[number], way, outcome, now - since)
                since = now
        _note(report, by_number[number], way, fault, 0)
        _kill(process.pid)
        process.join()
        cases = [case for case in cases if case.number > number]


def _kill(pid: int | None) -> None:
    """The child and its loader's workers, if they are there."""
    try:
        process = psutil.Process(pid)
        for one in [*process.children(recursive=True), process]:
            one.kill()
    except psutil.NoSuchProcess:
        pass


def _note(report: Report, case: Case, way: str, outcome: str, seconds: float) -> None:
    report.outcomes[f"{case.kind}, {way}: {outcome.partition(':')[0]}"] += 1
    if outcome.startswith("defect"):
        report.defects.append(f"case {case.number} ({case.kind}, {Path(case.path).suffix}), {way}: {outcome[8:]}")
    report.slowest[way] = max(report.slowest.get(way, 0), seconds)


def table(report: Report) -> str:
    """Counts of samples, bad files and defects by kind and way."""
    rows = sorted({key.rpartition(":")[0] for key in report.outcomes})
    lines = [f"{'kind, way':<44}{'sample':>8}{'bad':>8}{'defect':>8}"]
    for row in rows:
        counts = [report.outcomes[f"{row}: {outcome}"] for outcome in ("sample", "bad", "defect")]
        lines.append(f"{row:<44}" + "".join(f"{count:>8}" for count in counts))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=Path, required=True, help="folder of sound videos")
    parser.add_argument("--files", type=int, default=2000, help="mutated files and folders")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", nargs="+", choices=["pyav", "torchcodec"], default=["pyav", "torchcodec"])
    parser.add_argument("--form", nargs="+", choices=FORMS, default=FORMS)
    parser.add_argument("--limit", type=float, default=30, help="seconds after which a case counts as hanging")
    parser.add_argument("--timeout", type=float, default=2, help="--data.decode-timeout of the dataset, in seconds")
    parser.add_argument("--only", type=int, help="number of one case to try")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    report = run(
        options.sources, files=options.files, seed=options.seed, readers=options.reader, limit=options.limit,
        timeout=options.timeout, only=options.only, forms=options.form,
        tell=str if options.json else partial(print, flush=True),
    )  # fmt: skip
    if options.json:
        print(json.dumps(dataclasses.asdict(report)))
    else:
        print(table(report), *report.defects, sep="\n")
        print(f"memory of the child, MiB: {report.rss[0]:.0f} at first, {max(report.rss):.0f} at most")
        print("slowest, seconds:", {way: round(seconds, 1) for way, seconds in report.slowest.items()})
    raise SystemExit(bool(report.defects))


if __name__ == "__main__":
    main()
