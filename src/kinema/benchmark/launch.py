"""Training benchmarks in separate processes, so that peak memory is measured per recipe and torchrun can be used.

`python -m kinema.benchmark.launch REQUEST.json` runs one measurement, alone or under torchrun.
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
from kinema.benchmark.options import TrainMeasure
from kinema.benchmark.train import TrainFigures, benchmark_train
from kinema.console import print_fault, show_messages
from kinema.errors import MediaError, UserError
from kinema.storage import write_text


@dataclass(frozen=True, kw_only=True)
class Request:
    """Measurement to run, and the file that receives its figures."""

    recipe: str
    measure: TrainMeasure
    keys: dict[str, str | list[str]]
    folder: str
    answer: str


def measure_apart(
    recipe: str, measure: TrainMeasure, keys: Mapping[str, object], *, folder: Path, devices: int = 1
) -> TrainFigures:
    """Run `benchmark_train` in a separate process, or in `devices` processes under torchrun.

    Raises:
        UserError: The measurement failed; its own messages say why.
    """
    with TemporaryDirectory() as temporary, serving(measure.storage) as server:
        answer, request = Path(temporary) / "answer.json", Path(temporary) / "request.json"
        content = {
            "recipe": recipe,
            "measure": asdict(measure) | {"storage": "disk"},
            "keys": {**server, **keys},
            "folder": str(folder),
            "answer": str(answer),
        }
        request.write_text(strict_json.dumps(content, default=str), encoding="utf-8")
        torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(devices), "-m"]
        command = [sys.executable, "-m", *(torchrun if devices > 1 else []), "kinema.benchmark.launch", str(request)]
        threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // devices))} if devices > 1 else {}
        code = subprocess.run(command, env={**threads, **os.environ}, check=False).returncode
        if code or not answer.exists():
            raise UserError(f"the measurement of {recipe} failed with exit code {code}; see its messages above")
        return TypeAdapter(TrainFigures).validate_json(answer.read_text(encoding="utf-8"))


def main(request_file: str) -> int:
    """Run the measurement described by a JSON file; returns the exit code."""
    request = TypeAdapter(Request).validate_json(Path(request_file).read_text(encoding="utf-8"))
    figures = benchmark_train(request.recipe, request.measure, request.keys, folder=Path(request.folder))
    if figures is not None:
        write_text(Path(request.answer), strict_json.dumps(asdict(figures)))
    return 0


if __name__ == "__main__":
    show_messages(quiet=os.environ.get("RANK", "0") != "0")
    try:
        sys.exit(main(sys.argv[1]))
    except (UserError, MediaError) as error:
        print_fault(str(error))
        sys.exit(2)
