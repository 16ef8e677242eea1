"""Measurements in processes of their own: each has its own peak memory, and several may train together.

`python -m kinema.benchmark.launch ORDER.json` is such a process, or one of those that torchrun starts.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import TypeAdapter

from kinema import strict_json
from kinema.benchmark.inputs.memcached import serving
from kinema.benchmark.train import TrainFigures, TrainMeasure, benchmark_train
from kinema.console import print_fault, show_messages
from kinema.errors import MediaError, UserError
from kinema.storage import write_text


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a process is to measure, and where its figures go."""

    recipe: str
    measure: TrainMeasure
    keys: dict[str, str | list[str]]
    folder: str
    answer: str


def measure_apart(
    recipe: str, measure: TrainMeasure, keys: Mapping[str, object], *, folder: Path, devices: int = 1
) -> TrainFigures:
    """`benchmark_train` in a process of its own, or in `devices` that train together.

    Raises:
        UserError: it did not end well; it has said why.
    """
    with TemporaryDirectory() as place, serving(measure.storage) as server:
        answer, order = Path(place) / "answer.json", Path(place) / "order.json"
        content = {
            "recipe": recipe,
            "measure": asdict(measure) | {"storage": "disk"},
            "keys": {**server, **keys},
            "folder": str(folder),
            "answer": str(answer),
        }
        order.write_text(strict_json.dumps(content, default=str), encoding="utf-8")
        many = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(devices), "-m"] if devices > 1 else []
        command = [sys.executable, "-m", *many, "kinema.benchmark.launch", str(order)]
        threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // devices))} if devices > 1 else {}
        code = subprocess.run(command, env={**threads, **os.environ}, check=False).returncode
        if code or not answer.exists():
            raise UserError(f"the measurement of {recipe} ended with code {code}, without figures: it has said why")
        return TypeAdapter(TrainFigures).validate_json(answer.read_text(encoding="utf-8"))


def main(order_file: str) -> int:
    """Measure as the file says; returns the exit code."""
    order = TypeAdapter(Order).validate_json(Path(order_file).read_text(encoding="utf-8"))
    figures = benchmark_train(order.recipe, order.measure, order.keys, folder=Path(order.folder))
    if figures is not None:
        write_text(Path(order.answer), strict_json.dumps(figures.as_json()))
    return 0


if __name__ == "__main__":
    show_messages(quiet=os.environ.get("RANK", "0") != "0")
    try:
        sys.exit(main(sys.argv[1]))
    except (UserError, MediaError) as error:
        print_fault(str(error))
        sys.exit(2)
