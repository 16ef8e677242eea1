"""The comparison of examples/pretraining.py, from clips to its table, on very few clips and steps."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from kinema.prepare.options import PackOptions
from kinema.prepare.pack import prepare_pack

EXAMPLE = Path(__file__).parents[2] / "examples" / "pretraining.py"
METHODS = ["scratch", "scratch, equal time", "pre-trained"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_methods_are_in_the_table(sample: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        source, packed = str(sample / split), tmp_path / "packed" / split
        prepare_pack(PackOptions(source=source, output=packed, short_side=48, every=4, workers=1))
    trial = ("--labels", 2, "--seeds", 0, 1, "--pretraining-epochs", 1, "--steps", 2, "--size", 32)
    network = ("--model.patch", 8, "--model.width", 32, "--model.depth", 1, "--model.heads", 1)
    command = [sys.executable, EXAMPLE, tmp_path / "packed", "--work-dir", tmp_path / "runs", *trial, *network]

    def run() -> list[str]:
        ran = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout.splitlines()

    first = run()
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in first if line[:1] == "|"]
    assert header == ["labels a class", *METHODS]
    assert [name for name, *_ in rows] == ["2"]
    assert all(0 <= float(value.split()[0]) <= 1 for _, *values in rows for value in values)
    steps = {
        tuple(re.findall(r"(?:scratch, equal time|scratch|pre-trained)(?=:)|\d+(?= steps)", line)) for line in first
    }
    assert {int(count) for method, count in filter(None, steps) if method != "scratch, equal time"} == {2}
    assert all(int(count) > 2 for method, count in filter(None, steps) if method == "scratch, equal time")
    assert (tmp_path / "runs/accuracy.png").stat().st_size > 0
    assert run()[-len(rows) :] == first[-len(rows) :]
    assert len(list((tmp_path / "runs").glob("*/done"))) == 2 * (1 + 3)
