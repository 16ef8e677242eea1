"""docs/scaling.md is what its script computes, and the script computes what one would on paper."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = runpy.run_path(str(ROOT / "benchmarks/kinetics_needs.py"))


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs/scaling.md").read_text() == SCRIPT["page"]()


def test_arithmetic() -> None:
    tsn = next(row for row in SCRIPT["ROWS"] if row.name.startswith("TSN"))
    # 100 videos/s of 11.8 ms keep 1.18 cores busy, 1.475 with a quarter on top; they are 100 files of 0.666 MB.
    assert SCRIPT["cores_per_gpu"](tsn, "dense-encoded") == pytest.approx(1.475)
    assert SCRIPT["megabytes_per_second"](tsn, "dense-encoded") == pytest.approx(66.6)
    assert SCRIPT["megabytes_per_second"](tsn, "rawframes") == pytest.approx(100 * 3 * 0.0298)
    # 100 epochs of 288,000 videos at 800 a second: 36,000 s.
    assert SCRIPT["hours"](tsn, 288_000, 8) == pytest.approx(10)
