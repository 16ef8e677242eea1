"""The point of temporal modelling: on held-out clips TSM tells opposed motions apart, TSN cannot."""

from pathlib import Path

import pytest

from kinema.api import train
from kinema.prepare.drawn.sample import prepare_sample
from kinema.prepare.options import SampleOptions
from kinema.recipes import config_of


@pytest.fixture(scope="module")
def full_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    prepare_sample(SampleOptions(folder=folder, workers=2))
    return folder


def top1(recipe: str, sample: Path, work_dir: Path, seed: int = 0) -> float:
    options = {"data.train": str(sample / "train"), "data.val": str(sample / "val"), "training.val_every": "100"}
    return train(config_of(recipe, {**options, "training.seed": str(seed)}), work_dir=work_dir)["top1"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(5))
def test_tsm_recognises_the_motions(seed: int, full_sample: Path, tmp_path: Path) -> None:
    assert top1("tsm_r18_video_1x1x8_sample_rgb", full_sample, tmp_path, seed) >= 0.95


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_tsn_can_only_tell_the_pairs_apart(full_sample: Path, tmp_path: Path) -> None:
    """Knowing the pair of every clip, and guessing, is right half of the time: 100 ± 7 of 200 clips."""
    assert top1("tsn_r18_video_1x1x8_sample_rgb", full_sample, tmp_path) <= 0.5 + 4 * 7 / 200
