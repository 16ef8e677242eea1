"""`kinema benchmark data` on drawn videos and packed frames of them."""

import json
from pathlib import Path

import pytest

from kinema.cli import main
from kinema.prepare.options import PackOptions
from kinema.prepare.pack import prepare_pack
from tests.data.drawn_videos import write_video

RECIPE = "tsn_r50_video_1x1x3_100e_kinetics400_rgb"


@pytest.mark.parametrize("source", ["video", "packed"])
def test_figures(tmp_path: Path, source: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "video" / "jump").mkdir(parents=True)
    for name in "ab":
        write_video(tmp_path / "video" / "jump" / f"{name}.mp4", size=(96, 64))
    prepare_pack(PackOptions(source=tmp_path / "video", output=tmp_path / "packed", short_side=0, workers=1))
    arguments = ["--source", source, "--data.train", str(tmp_path / source), "--samples", "4", "--batch", "2"]
    capsys.readouterr()
    assert main(["benchmark", "data", RECIPE, *arguments, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["source"], figures["clip"], figures["samples"]) == (source, "1x1x3", 4)
    assert figures["samples_per_s"] * figures["ms_per_sample"] == pytest.approx(1000)
    assert figures["of_limit"] == pytest.approx(figures["limit_ms"] / figures["ms_per_sample"])
    assert main(["benchmark", "data", RECIPE, *arguments]) == 0
    assert f"| {RECIPE} | {source} | 1x1x3 |" in capsys.readouterr().out


def test_faults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        ([], "no recipes given"),
        ([RECIPE], "no training videos"),
        ([RECIPE, "--data.trian", str(tmp_path)], "data.train"),
        (["tsn_r50_1x1x3_110e_kinetics400_flow"], "optical flow"),
    ):
        assert main(["benchmark", "data", *arguments]) == 2
        assert message in capsys.readouterr().err
