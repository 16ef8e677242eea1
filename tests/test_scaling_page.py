"""docs/scaling.md is what its script makes of the measured figures, and the script computes what one would on paper."""

import json
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = runpy.run_path(str(ROOT / "benchmarks/kinetics_needs.py"))


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs/scaling.md").read_text() == SCRIPT["page"]()


def test_arithmetic() -> None:
    tsn = next(row for row in SCRIPT["ROWS"] if row.name.startswith("TSN"))
    figures = SCRIPT["Figures"](
        machine="", clips=4, clip_seconds=10, milliseconds={tsn.measured: {"dense": 11.8}},
        kb_per_clip={"dense": 666.0, "rawframes": 9000.0}, frame_kb={"rawframes": 30.0},
    )  # fmt: skip
    # 100 videos/s of 11.8 ms keep 1.18 cores busy, 1.475 with a quarter on top; they are 100 files of 0.666 MB.
    assert SCRIPT["cores_per_gpu"](tsn, 11.8) == pytest.approx(1.475)
    assert SCRIPT["megabytes_per_second"](tsn, "dense", figures) == pytest.approx(66.6)
    assert SCRIPT["megabytes_per_second"](tsn, "rawframes", figures) == pytest.approx(100 * 3 * 0.03)
    # 100 epochs of 288,000 videos at 800 a second: 36,000 s.
    assert SCRIPT["hours"](tsn, 288_000, 8) == pytest.approx(10)
    # 8 GPUs of 6 times the speed want 8 x 6 x 1.475 cores: 70.8, which a server has. Slower reading, 177: it has not.
    assert "96 cores of a common server feed" in SCRIPT["too_slow"](replace(figures, milliseconds=alone(tsn, 11.8)))
    assert "(177)" in SCRIPT["too_slow"](replace(figures, milliseconds=alone(tsn, 29.5)))


def alone(row: Any, milliseconds: float) -> dict[str, dict[str, float]]:
    return {each.measured: {"dense": milliseconds} if each == row else {} for each in SCRIPT["ROWS"]}


@pytest.mark.parametrize("source", ["{}", "dense={}"])
def test_what_benchmarks_wrote_is_read(source: str, tmp_path: Path) -> None:
    of_peers = [{"model": "TSN 1x1x3", "input": "dense", "kinema_ms": 11.0, "kinema_worker_ms": 11.8}]
    own = {"recipe": "tsn_r50_video_1x1x3_100e_kinetics400_rgb", "source": "video", "ms_per_sample": 11.8}
    file = tmp_path / "figures.json"
    file.write_text(json.dumps(own if "=" in source else of_peers))
    assert SCRIPT["measured"](source.format(file)) == [("TSN 1x1x3", "dense", 11.8)]


def test_growth() -> None:
    assert SCRIPT["exponent"]({"x": [0, 1, 2, 4], "y": [9, 3, 6, 12]}) == pytest.approx(1)
    assert SCRIPT["exponent"]({"x": [1, 2, 4], "y": [3, 12, 48]}) == pytest.approx(2)
