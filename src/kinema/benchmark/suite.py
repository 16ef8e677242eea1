"""`kinema benchmark suite`: all rows of the training-speed benchmark, resumable measurement by measurement."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from pydantic import TypeAdapter

from kinema import strict_json
from kinema.benchmark.compare.results import Comparison
from kinema.benchmark.compare.rows import ROWS
from kinema.benchmark.compare.run import batch_size, compare
from kinema.benchmark.launch import measure_apart
from kinema.benchmark.options import Form, Storage, SuiteOptions, TrainMeasure
from kinema.benchmark.train import TrainFigures
from kinema.errors import UserError, did_you_mean
from kinema.storage import write_text

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Input:
    """A model and the input it is trained on."""

    row: str
    form: Form | None = None
    """Form of the videos; None: features."""
    storage: Storage = "disk"

    @property
    def name(self) -> str:
        """Name of its measurement."""
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
"""Rows of the benchmark's two tables, in order; TEM and PEM of BSN share a row there."""


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """Measurements of the suite so far."""

    trained: dict[str, TrainFigures]
    """Training figures by name of the input."""
    compared: dict[str, Comparison]
    """Comparisons by name of the row."""
    missing: tuple[str, ...]
    """Names of measurements still to be taken."""


def run_suite(options: SuiteOptions, keys: Mapping[str, object]) -> Measurements:
    """Take the measurements missing in the folder, at least one, with `keys`, dotted keys of recipe options, changed.

    Raises:
        UserError: A measurement of Kinema failed, or `only` has an unknown name.
    """
    end, folder = time.monotonic() + 60 * options.minutes, options.work_dir
    plan = _plan(options, keys)
    if unknown := [name for name in options.only if name not in plan]:
        raise UserError(
            f"unknown measurement '{unknown[0]}'{did_you_mean(unknown[0], plan)}; allowed: {', '.join(plan)}"
        )
    for name in options.only or plan:
        if _file(folder, name).exists():
            continue
        log.info("measuring %s", name)
        write_text(_file(folder, name), strict_json.dumps(plan[name](), indent=1) + "\n")
        if time.monotonic() > end:
            break
    return read_measurements(folder)


def read_measurements(folder: Path) -> Measurements:
    """Read the measurements in `folder`."""
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
    return Measurements(trained=trained, compared=compared, missing=tuple(missing))


def _plan(options: SuiteOptions, keys: Mapping[str, object]) -> dict[str, Callable[[], dict[str, object]]]:
    """Functions that take each measurement, by name; comparisons first."""
    on_gpu = torch.cuda.is_available()
    iters, skip = options.iters or (200 if on_gpu else 12), options.skip or (50 if on_gpu else 3)
    common = TrainMeasure(iters=iters, skip=skip, parts=max(1, iters // 2), videos=options.videos)

    def compared(row: str) -> Callable[[], dict[str, object]]:
        return lambda: compare(row, ROWS[row], options, keys).as_json()

    def trained(one: Input) -> Callable[[], dict[str, object]]:
        measure = replace(common, source=one.form or "recipe", storage=one.storage)
        return lambda: asdict(
            measure_apart(
                ROWS[one.row].recipe,
                measure,
                {"data.batch_size": str(batch_size(ROWS[one.row], options)), **keys},
                folder=options.work_dir / "data",
                devices=options.devices,
            )
        )

    plan = {f"compare_{row}": compared(row) for row in ROWS}
    return plan | {one.name: trained(one) for one in INPUTS}


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"
