"""Multigrid's lengths, shapes and rates against those that PySlowFast derives for its own recipe."""

from itertools import accumulate
from pathlib import Path

import pytest

from kinema.api import train
from kinema.data.crops import RandomResizedCrop, TrainCrop
from kinema.data.sampling import Sampling
from kinema.data.views import TrainClip
from kinema.errors import UserError
from kinema.recipes import config_of
from kinema.tasks.recognition.multigrid import Multigrid, plan
from kinema.training import CosineSchedule, StepSchedule
from kinema.training.optimization.schedule import StretchSchedule, lr_factor
from tests.conftest import TINY

CLIP = TrainClip(sampling=Sampling(clip_len=32, frame_interval=2), crop=TrainCrop(box=RandomResizedCrop(), size=224))
STEPS = StepSchedule(epochs=239, milestones=(94, 154, 196), warmup_epochs=34)
# What PySlowFast's algorithm gives for SLOWFAST_8x8_R50_stepwise_multigrid: 239 epochs, times 1.5.
ENDS = {
    True: [73, 110, 142, 158, 205, 228, 248, 259, 291, 308, 322, 329, 358],
    False: [87, 130, 152, 162, 218, 245, 259, 266, 305, 324, 334, 339, 358],
}
SHAPES = {  # videos, frames, side of each step in turn, in the four stages of a cycle
    True: [
        [(16, 8, 112), (8, 8, 158), (8, 8, 158)],
        [(8, 16, 112), (4, 16, 158), (4, 16, 158)],
        [(8, 16, 112), (4, 16, 158), (2, 16, 224)],
        [(4, 32, 112), (2, 32, 158), (1, 32, 224)],
    ],
    False: [[(8, 8, 158)], [(4, 16, 158)], [(2, 16, 224)], [(1, 32, 224)]],
}
RATES = [8, 4, 2, 1, 0.8, 0.4, 0.2, 0.1, 0.08, 0.04, 0.02, 0.01, 0.01, 0.001]


@pytest.mark.parametrize("short", [True, False])
def test_long_cycles_are_those_of_pyslowfast(short: bool) -> None:
    phases, clips, schedule = plan(Multigrid(long_cycle=True, short_cycle=short), STEPS, CLIP)
    assert list(accumulate(phase.epochs for phase in phases)) == ENDS[short]
    found = [
        [
            (shape.factor, clips[shape.variant].sampling.clip_len, clips[shape.variant].crop.size)
            for shape in phase.shapes
        ]
        for phase in phases
    ]
    assert found == SHAPES[short] * 3 + SHAPES[short][-1:]
    assert isinstance(schedule, StretchSchedule)
    assert list(schedule.starts) == [0, *ENDS[short][:-1], (ENDS[short][-2] + 358) // 2]
    assert list(schedule.factors) == pytest.approx(RATES)
    assert schedule.epochs == 358
    for start, factor in list(zip(schedule.starts, RATES, strict=True))[1:]:
        assert lr_factor(schedule, start) == pytest.approx(factor)
        assert lr_factor(schedule, start + 2.5) == pytest.approx(factor)
    assert lr_factor(schedule, 17) == pytest.approx(8 * (0.1 + 0.9 / 2))
    assert lr_factor(schedule, 40) == 8


def test_fewer_frames_may_span_as_much() -> None:
    clips = plan(Multigrid(long_cycle=True), STEPS, CLIP).clips
    spans = {(clip.sampling.clip_len, clip.sampling.frame_interval, clip.sampling.longest_interval) for clip in clips}
    assert spans == {(8, 2, 8), (16, 2, 4), (32, 2, 2)}


def test_short_cycles_alone_stretch_any_schedule() -> None:
    phases, clips, schedule = plan(Multigrid(short_cycle=True), CosineSchedule(epochs=256, warmup_epochs=34), CLIP)
    assert [(phase.epochs, phase.shapes) for phase in phases] == [(384, ((4, 0), (2, 1), (1, 2)))]
    assert [clip.crop.size for clip in clips] == [112, 158, 224]
    assert schedule.epochs == 384
    _, _, steps = plan(Multigrid(short_cycle=True), STEPS, CLIP)
    assert isinstance(steps, StepSchedule)
    assert (steps.epochs, steps.milestones) == (358, (141, 231, 294))


def test_without_multigrid_nothing_changes() -> None:
    phases, clips, schedule = plan(Multigrid(), STEPS, CLIP)
    assert [(phase.epochs, phase.shapes) for phase in phases] == [(239, ((1, 0),))]
    assert clips == [CLIP]
    assert schedule is STEPS


def test_what_multigrid_cannot_do_is_said() -> None:
    segments = TrainClip(sampling=Sampling(clip_len=1, num_clips=8, joined=True), crop=CLIP.crop)
    with pytest.raises(UserError, match="not segments"):
        plan(Multigrid(short_cycle=True), STEPS, segments)
    with pytest.raises(UserError, match="give a step schedule"):
        plan(Multigrid(long_cycle=True), CosineSchedule(epochs=256), CLIP)


def test_a_training_goes_through_all_shapes(sample: Path, tmp_path: Path) -> None:
    """With statistics of batch norm taken anew at its end."""
    changes = {
        "data.train": str(sample / "train"),
        "data.val": str(sample / "val"),
        "data.train_clip.sampling.clip_len": "8",
        "data.train_clip.sampling.num_clips": "1",
        "data.train_clip.sampling.frame_interval": "1",
        "data.batch_size": "1",
        "training.multigrid.short_cycle": "true",
        "training.multigrid.epoch_factor": "1",
        "training.precise_bn": "2",
        "model.alpha": "4",
        "model.width": "16",
    }
    config = config_of("slowfast_r18_video_4x4x1_small_rgb", TINY | changes | {"schedule.epochs": "1"})
    found = train(config, work_dir=tmp_path / "run")
    assert found["videos"] == 16
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert len(rows) == 14  # 32 videos in 13 steps of 4, 2 and 1 in turn, and the validation
