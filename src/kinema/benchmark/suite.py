"""The rows of the training-speed benchmark, measured piece by piece: what is there already is not measured again."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from pydantic import TypeAdapter

from kinema import strict_json
from kinema.benchmark.compare.results import Comparison
from kinema.benchmark.compare.rows import ROWS
from kinema.benchmark.compare.run import CompareOptions, compare
from kinema.benchmark.inputs.memcached import Storage
from kinema.benchmark.inputs.videos import Form
from kinema.benchmark.launch import measure_apart
from kinema.benchmark.train import TrainFigures, TrainMeasure
from kinema.errors import UserError, did_you_mean
from kinema.storage import write_text

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Input:
    """What a row of the table reads."""

    row: str
    form: Form | None = None
    """None: features."""
    storage: Storage = "disk"

    @property
    def name(self) -> str:
        """Of its piece."""
        return f"train_{self.row}_{self.form or 'features'}"


INPUTS: tuple[Input, ...] = (
    Input(row="tsn", form="rawframes", storage="memcached"),
    Input(row="tsn", form="video"),
    Input(row="tsn", form="dense"),
    Input(row="i3d_heavy", form="video"),
    Input(row="i3d_heavy", form="dense"),
    Input(row="i3d", form="rawframes", storage="memcached"),
    Input(row="tsm", form="rawframes", storage="memcached"),
    Input(row="slowonly", form="video"),
    Input(row="slowonly", form="dense"),
    Input(row="slowfast", form="video"),
    Input(row="slowfast", form="dense"),
    Input(row="r2plus1d", form="video"),
    Input(row="r2plus1d", form="dense"),
    Input(row="tem"),
    Input(row="pem"),
    Input(row="bmn"),
)
"""The rows of the benchmark's two tables, in their order; BSN's TEM and PEM are one row there."""


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """What has been measured."""

    trained: dict[str, TrainFigures]
    """By the name of the input."""
    compared: dict[str, Comparison]
    """By row."""
    missing: tuple[str, ...]


def run_suite(
    folder: Path,
    how: CompareOptions,
    *,
    iters: int,
    skip: int,
    devices: int,
    videos: Path | None,
    minutes: float,
    only: Sequence[str],
    keys: Mapping[str, object],
) -> Pieces:
    """Measure the pieces that `folder` lacks, until `minutes` are over, at least one.

    Args:
        folder: receives a JSON file for each piece, and the videos that are made.
        how: how steps are compared.
        iters: iterations that count, of trainings that read data.
        skip: iterations before.
        devices: processes that train together.
        videos: videos to read, see `TrainMeasure`.
        minutes: no further piece is begun after.
        only: names of pieces to measure, in this order; all when empty.
        keys: options of Kinema's recipes to change.

    Raises:
        UserError: a measurement of Kinema failed, or there is no piece of a name.
    """
    end = time.monotonic() + 60 * minutes
    plan = _plan(folder, how, iters, skip, devices, videos, keys)
    if unknown := [name for name in only if name not in plan]:
        raise UserError(f"no piece is called '{unknown[0]}'{did_you_mean(unknown[0], plan)}: {', '.join(plan)}")
    for name in only or plan:
        if _file(folder, name).exists():
            continue
        log.info("measuring %s", name)
        write_text(_file(folder, name), strict_json.dumps(plan[name](), indent=1) + "\n")
        if time.monotonic() > end:
            break
    return read_pieces(folder)


def read_pieces(folder: Path) -> Pieces:
    """What `folder` holds."""
    trained, compared = dict[str, TrainFigures](), dict[str, Comparison]()
    missing = []
    for one in INPUTS:
        if (file := _file(folder, one.name)).exists():
            trained[one.name] = TypeAdapter(TrainFigures).validate_json(file.read_text(encoding="utf-8"))
        else:
            missing.append(one.name)
    for row in ROWS:
        if (file := _file(folder, f"compare_{row}")).exists():
            compared[row] = TypeAdapter(Comparison).validate_json(file.read_text(encoding="utf-8"))
        else:
            missing.append(f"compare_{row}")
    return Pieces(trained=trained, compared=compared, missing=tuple(missing))


def _plan(
    folder: Path,
    how: CompareOptions,
    iters: int,
    skip: int,
    devices: int,
    videos: Path | None,
    keys: Mapping[str, object],
) -> dict[str, Callable[[], dict[str, object]]]:
    """Each piece's name and how it is measured: the comparisons first."""
    usual = TrainMeasure(iters=iters, skip=skip, parts=max(1, iters // 2), videos=videos)

    def compared(row: str) -> Callable[[], dict[str, object]]:
        return lambda: compare(row, ROWS[row], how, keys).as_json()

    def trained(one: Input) -> Callable[[], dict[str, object]]:
        measure = replace(usual, source=one.form or "recipe", storage=one.storage)
        return lambda: asdict(
            measure_apart(
                ROWS[one.row].recipe,
                measure,
                {"data.batch_size": str(batch_of(one.row, how)), **keys},
                folder=folder / "data",
                devices=devices,
            )
        )

    plan = {f"compare_{row}": compared(row) for row in ROWS}
    return plan | {one.name: trained(one) for one in INPUTS}


def batch_of(row: str, how: CompareOptions) -> int:
    """Samples of a batch of one process: the benchmark's own on a GPU, fewer on a CPU."""
    own = int(ROWS[row].spec_batch.partition("x")[0]) if torch.cuda.is_available() else ROWS[row].batch_size
    return how.batch_size or own


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"
