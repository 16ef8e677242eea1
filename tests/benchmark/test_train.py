"""`kinema benchmark train` measures the real training: its figures agree with each other and with what was asked."""

import json
import shutil
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from kinema.benchmark.inputs.videos import sample_list
from kinema.cli import main
from kinema.data.lists.annotations import read_index
from kinema.data.readers.sources import open_video
from kinema.recipes import config_of
from tests.conftest import TINY

RECIPE = "tsm_r18_video_1x1x8_sample_rgb"
KEYS = [
    f"--{key}={value}"
    for key, value in TINY.items()
    if key.split(".")[0] not in ("schedule", "training") and key != "data.batch_size"
]
CHEAP = ["--iters", "3", "--skip", "1", "--sample-videos", "2", "--sample-frames", "20", "--batch-size", "2", *KEYS]


def measured(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str) -> Any:
    assert main(["benchmark", "train", *arguments, *CHEAP, "--work-dir", str(folder), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_contract(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = measured(capsys, tmp_path, RECIPE)
    assert (found["iters"], found["skipped"], found["batch_size"], found["processes"]) == (3, 1, 2, 1)
    for name in ("s_per_iter", "data_s_per_iter", "compute_s_per_iter", "memory_gib", "median", "p95"):
        assert found[name] > 0
    assert found["median"] <= found["p95"]
    assert found["videos_per_s"] == pytest.approx(2 / found["s_per_iter"])
    assert 0 <= found["data_wait_share"] < 1
    assert found["memory_gib"] == pytest.approx(found["memory"]["process"] + found["memory"]["workers"])
    assert found["data"] == "2 synthetic videos"
    assert json.loads((tmp_path / f"{RECIPE}.json").read_text()) == found
    table = (tmp_path / "benchmark.md").read_text()
    assert f"| {RECIPE} | videos | disk | 2x1 | {found['s_per_iter']:.3g} |" in table


def test_flops_are_three_times_those_of_a_forward_pass_but_for_the_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A layer's backward pass costs its forward pass twice; the first layer's, once: pixels need no gradient."""
    found = measured(capsys, tmp_path, RECIPE, "--parts", "0")
    config = config_of(RECIPE, {key: value for key, value in TINY.items() if key.startswith(("model", "train_clip"))})
    network = config.model.build()
    with FlopCounterMode(display=False) as forward:
        network(torch.zeros(2, 3, 8, 32, 32))
    first = 2 * 16 * 16 * 16 * network.backbone.conv1.weight.numel()
    assert found["flops_per_iter"] == 3 * forward.get_total_flops() - first
    assert found["compute_s_per_iter"] is found["data_s_per_iter"] is found["flops_per_s"] is None


@pytest.mark.slow
def test_two_recipes_and_forms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = [RECIPE, "tsn_r18_video_1x1x8_sample_rgb"]
    found = measured(capsys, tmp_path, *both, "--source", "rawframes", "--parts", "0")
    assert [one["recipe"] for one in found] == both
    assert {one["input"] for one in found} == {"rawframes, disk"}
    assert (tmp_path / f"{both[1]}.json").exists()


@pytest.mark.slow
def test_processes_train_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = measured(capsys, tmp_path, RECIPE, "--devices", "2", "--source", "dense")
    assert (found["processes"], found["input"]) == (2, "dense-encoded videos, disk")
    assert found["videos_per_s"] == pytest.approx(4 / found["s_per_iter"])


def test_own_videos(sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert measured(capsys, tmp_path, RECIPE, "--data.train", str(sample / "train"), "--parts", "0")["data"] == ""
    videos = sample / "val" / "growing"
    found = measured(capsys, tmp_path, RECIPE, "--videos", str(videos), "--parts", "0")
    assert found["data"] == "videos of growing"
    index = read_index(str(tmp_path / "data/video.txt"), kind="video")
    assert {Path(index.path(row)).name for row in range(len(index))} == {path.name for path in videos.iterdir()}


@pytest.mark.slow
def test_dense_videos_have_their_keyframes(tmp_path: Path) -> None:
    for form, at_most in (("dense", 16), ("video", 250)):
        index = read_index(
            str(sample_list(tmp_path, form, rows=5, num_classes=2, videos=None, count=2, frames=40)), kind="video"
        )
        assert [index.label(row) for row in range(5)] == [0, 1, 0, 1, 0]
        assert len({index.path(row) for row in range(5)}) == 2
        reader = open_video(index.path(0))
        assert len(reader) == 40
        assert reader.frames([0]).shape[1:] == (256, 340, 3)
        with av.open(index.path(0)) as video:
            keys = [number for number, packet in enumerate(video.demux(video=0)) if packet.is_keyframe]
        assert (keys == [0, 16, 32]) == (at_most == 16)


def test_memcached_holds_the_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if shutil.which("memcached") is None:
        pytest.skip("no memcached here")
    found = measured(capsys, tmp_path, RECIPE, "--source", "rawframes", "--storage", "memcached", "--parts", "0")
    assert found["input"] == "rawframes, Memcached"


@pytest.mark.parametrize(
    ("recipe", "read"),
    [
        ("bmn_64x50_small_feature", "features, disk"),
        ("bsn_tem_400x100_1x16_20e_activitynet_feature", "features, disk"),
        ("bsn_pem_400x100_1x16_20e_activitynet_feature", "candidates, disk"),
    ],
)
def test_localizers(recipe: str, read: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--iters", "2", "--skip", "1", "--batch-size", "2", "--data.workers", "0", "--work-dir", str(tmp_path)]
    assert main(["benchmark", "train", recipe, *arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["s_per_iter"] > 0
    assert (found["input"], found["data"]) == (read, "random features of 8 videos")


def test_faults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, said in (
        ([], "no recipes given"),
        (["tsn_r50_1x1x3"], "no recipe is called 'tsn_r50_1x1x3'"),
        ([RECIPE, "--optim.lrr", "1"], "optim.lrr: no such option"),
        ([RECIPE, "--data.train", str(tmp_path / "none")], "none"),
        ([RECIPE, "--videos", str(tmp_path / "none")], "no file or folder"),
        (["tsn_r50_1x1x3_110e_kinetics400_flow"], "reads flow, which cannot be generated: pass --data.train"),
        (["bsn_64x50_small_feature"], "has several networks"),
        (["bmn_64x50_small_feature", "--source", "dense"], "reads no clips"),
    ):
        assert main(["benchmark", "train", *arguments, "--work-dir", str(tmp_path / "work")]) == 2
        assert said in capsys.readouterr().err
