"""Probes: the last layers, trained on features that are computed once."""

import shutil
import signal
from pathlib import Path
from signal import raise_signal
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import kinema
from kinema.api import evaluation_options, run_test, train
from kinema.data.dataset import VideoFiles
from kinema.errors import UserError
from kinema.models.capabilities import HasProbe
from kinema.tasks.recognition.probe import encoding
from kinema.tasks.recognition.probe.cache import FeatureCache
from kinema.training import InterruptedRun
from tests.conftest import tiny_config
from tests.models.families import RECOGNIZERS, small_model


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of the videos that are read."""
    rows: list[int] = []
    read = VideoFiles.read

    def counted(self: VideoFiles, row: int, function: Any) -> Any:
        rows.append(row)
        return read(self, row, function)

    monkeypatch.setattr(VideoFiles, "read", counted)
    return rows


@pytest.fixture(scope="module")
def cached(tiny_run: Path, sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of a probe's training."""
    folder = tmp_path_factory.mktemp("probe")
    train(probe_config(sample, folder, schedule__epochs="1"), work_dir=folder / "run", init=tiny_run)
    return folder / "cache"


def probe_config(sample: Path, tmp_path: Path, **options: str) -> Any:
    own = {"task__probe__clips": "2", "task__probe__cache": str(tmp_path / "cache")}
    return tiny_config(sample, **{**own, **options})


@pytest.mark.parametrize("name", RECOGNIZERS)
def test_decoding_what_is_encoded_is_the_network(name: str) -> None:
    model = small_model(name).eval()
    clips = torch.randint(0, 256, (2, 3, 8, 64, 64), dtype=torch.uint8)
    assert isinstance(model, HasProbe)
    with torch.no_grad():
        encoded, logits = model.encode(clips), model(clips)
        decoded = model.decode(encoded)
    assert encoded.shape[0] == 2
    torch.testing.assert_close(decoded, logits, rtol=1e-4, atol=1e-5)
    layers = {id(parameter) for layer in model.decoder_layers() for parameter in layer.parameters()}
    encoded.requires_grad_(True)
    model.decode(encoded).sum().backward()
    used = {id(parameter) for parameter in model.parameters() if parameter.grad is not None}
    assert used == layers


def test_the_head_alone_is_trained_and_the_model_is_an_ordinary_one(
    tiny_run: Path, sample: Path, tmp_path: Path, opened: list[int]
) -> None:
    found = train(probe_config(sample, tmp_path), work_dir=tmp_path / "run", init=tiny_run)
    assert len(opened) == 2 * 32 + 16  # two clips of each training video, the views of each validation video
    before = load_file(tiny_run / "checkpoints/best/model.safetensors")
    after = load_file(tmp_path / "run/checkpoints/last/model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"fc.weight", "fc.bias"}
    options = evaluation_options(tmp_path / "run/checkpoints/last")
    options.data.test_views = options.data.val_views
    tested = run_test(tmp_path / "run/checkpoints/last", options, folder=tmp_path / "test")
    assert {name: tested[name] for name in found} == pytest.approx(found)
    video = next((sample / "val").glob("*/*"))
    assert len(kinema.load(tmp_path / "run").predict(video)) == 5


def test_features_of_each_clip_are_in_a_file(cached: Path) -> None:
    features = [np.load(file) for file in cached.glob("*/*.npy")]
    assert len(features) == 80
    assert {array.shape for array in features} == {(1, 64)}
    assert {array.dtype for array in features} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("option", "value", "read"),
    [
        ("optim.lr", "0.01", 0),
        ("task.probe.clips", "3", 32),  # another clip of each training video
        pytest.param("data.train_clip.crop.flip", "0.5", 64, marks=pytest.mark.slow),
        pytest.param("training.seed", "1", 64, marks=pytest.mark.slow),
        ("data.val_views.crops.short_side", "36", 16),
        pytest.param("runtime.precision", "bf16", 80, marks=pytest.mark.slow),
    ],
)
def test_only_what_changes_features_computes_them_again(
    tiny_run: Path, sample: Path, tmp_path: Path, cached: Path, opened: list[int], option: str, value: str, read: int
) -> None:
    shutil.copytree(cached, tmp_path / "cache")
    config = probe_config(sample, tmp_path, schedule__epochs="1", **{option: value})
    train(config, work_dir=tmp_path / "two", init=tiny_run)
    assert len(opened) == read


@pytest.mark.parametrize(
    ("option", "value", "fault"),
    [
        ("task.mixup", "0.8", "--task.mixup 0.8 is not for probes"),
        ("training.precise_bn", "10", "--training.precise-bn 10 is not for probes"),
        ("runtime.compile", "true", "--runtime.compile True is not for probes"),
    ],
)
def test_options_that_a_probe_has_no_use_for_are_refused(
    sample: Path, tmp_path: Path, option: str, value: str, fault: str
) -> None:
    with pytest.raises(UserError, match=fault):
        train(probe_config(sample, tmp_path, **{option: value}), work_dir=tmp_path / "run")


def test_videos_that_cannot_be_read_are_replaced_and_counted(tiny_run: Path, sample: Path, tmp_path: Path) -> None:
    data = shutil.copytree(sample, tmp_path / "data")
    for split in ("train", "val"):
        next((data / split).glob("*/*")).write_bytes(b"no video")
    config = probe_config(data, tmp_path, data__max_bad_fraction="0.1")
    assert train(config, work_dir=tmp_path / "run", init=tiny_run)["bad_files"] == 1
    assert len((tmp_path / "run/bad_files.csv").read_text().splitlines()) == 3


def test_an_interrupted_extraction_goes_on(
    tiny_run: Path, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[int]
) -> None:
    monkeypatch.setattr(encoding, "_FRAMES_OF_A_BATCH", 32)  # 4 clips

    def stop(*arguments: Any) -> None:
        raise_signal(signal.SIGTERM)
        return write(*arguments)

    write = FeatureCache.write
    with monkeypatch.context() as patched:
        patched.setattr(FeatureCache, "write", stop)
        with pytest.raises(InterruptedRun, match="the same command with --resume continues"):
            train(probe_config(sample, tmp_path, schedule__epochs="1"), work_dir=tmp_path / "run", init=tiny_run)
    assert len(opened) == 4
    train(probe_config(sample, tmp_path, schedule__epochs="1"), work_dir=tmp_path / "run", init=tiny_run, resume=True)
    assert len(opened) == 80
