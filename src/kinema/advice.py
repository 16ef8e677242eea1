"""Choice of a recipe for given videos: by their number, classes and length, the device, and the time at hand."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Literal, NamedTuple

import torch

from kinema.data.dataset import opener
from kinema.data.kinds import MediaKind
from kinema.data.lists.annotations import read_index
from kinema.data.lists.folds import groups_of
from kinema.data.lists.index import Index
from kinema.data.options import DataOptions
from kinema.errors import MediaError, UserError
from kinema.recipes import recognizer_config_of
from kinema.runtime.device import RuntimeOptions, pick_device, to_device

PROBE, ATTENTIVE = "tsn_efficientnet_lite0_1x1x8_probe", "tsn_efficientnet_lite0_1x1x8_attentive_probe"
CELLS, MOTION = "tsn_efficientnet_lite0_1x1x8_cell_probe", "tsn_efficientnet_lite0_8x1x3_motion_probe"
SMALL = "tsm_efficientnet_lite0_1x1x8_small"
LARGE = "tsm_r50_video_1x1x8_50e_kinetics400_rgb"
FEW, MANY = 2_000, 500
"""Videos up to which lower stages stay frozen; videos of a class from which a large network is trained whole."""
FEW_OF_A_CLASS = 100
"""Videos of the median class up to which a head in closed form is preferred to fine-tuning."""
CROSS_VALIDATED = 1_000
"""Videos up to which folds are worth their time."""
_FOLDS, _SAMPLED, _BACKWARD = 5, 8, 2.0


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the choice depends on.

    kind: how the videos are stored. per_class: videos of the rarest and of the median class. frames: median number of
    frames of some videos. groups: number of groups; 0 without a column of groups. device: where the training runs.
    """

    data: str
    kind: MediaKind
    videos: int
    classes: int
    per_class: tuple[int, int]
    frames: int
    groups: int
    device: Literal["cpu", "cuda"]

    def __str__(self) -> str:
        least, median = self.per_class
        grouped = f", in {self.groups} groups" if self.groups else ""
        return (
            f"{self.videos} videos of {self.classes} classes{grouped}: {least} of the rarest class, {median} of the "
            f"median one; {self.frames} frames in the median video; on {'a GPU' if self.device == 'cuda' else 'CPUs'}"
        )


class Advice(NamedTuple):
    """A recipe, the reasons for it, its command, and that of another recipe to compare it with, or an empty string."""

    recipe: str
    reasons: list[str]
    command: str
    alternative: str


def facts_of(data: str) -> Facts:
    """Read the list, or the folder of class folders, and open a few of its videos.

    Raises:
        UserError: it is faulty, or none of those videos can be read.
    """
    index, kind = _read(data)
    counts = torch.bincount(index.labels.long())
    counts = counts[counts > 0].sort().values
    groups = groups_of(index, "")
    return Facts(
        data=data,
        kind=kind,
        videos=len(index),
        classes=len(counts),
        per_class=(int(counts[0]), int(counts[len(counts) // 2])),
        frames=_median_length(index, kind),
        groups=0 if groups is None else int(groups.max()) + 1,
        device="cuda" if pick_device(RuntimeOptions()).type == "cuda" else "cpu",
    )


def advise(facts: Facts, *, minutes: float, seconds_of: Callable[[str], float]) -> Advice:
    """Choose a recipe.

    Args:
        facts: of the videos and the machine.
        minutes: time at hand for all of the training.
        seconds_of: returns the seconds of a forward pass of a recipe's network over one clip.
    """
    folds = min(_FOLDS, facts.groups or _FOLDS) if facts.videos <= CROSS_VALIDATED else 0
    folds = folds if folds > 1 else 0
    reasons = []
    large = facts.videos > FEW and facts.per_class[1] >= MANY
    candidates = _candidates(facts, large=large)
    if large and facts.device == "cpu":
        reasons.append("the videos are enough to train a large network whole, but that needs a GPU")
    if not large:
        frozen = "train the last layer alone" if candidates[0] == CELLS else "freeze the lower stages"
        reasons.append(
            f"with {facts.per_class[1]} videos of the median class, fine-tuning the whole network would "
            f"overfit: start from ImageNet weights and {frozen}"
        )
    for recipe in candidates:
        need = _minutes(recipe, facts, folds, seconds_of(recipe))
        if need <= minutes or recipe == candidates[-1]:
            break
        reasons.append(f"{recipe} would take about {_rounded(need)}, more than the {minutes:g} minutes at hand")
    over = " (more than is at hand, but nothing is quicker)" if need > minutes else ""
    reasons.append(f"{recipe} takes about {_rounded(need)} for the network's part{over}")
    if facts.frames < recognizer_config_of(recipe).data.train_clip.sampling.frames:
        reasons.append(f"videos of {facts.frames} frames are shorter than a clip, which repeats some of them")
    reasons.append(_why_split(facts, folds))
    if recipe != CELLS:
        return Advice(recipe, reasons, _command(recipe, facts, folds), "")
    reasons.append(_why_both(folds))
    return Advice(recipe, reasons, _command(recipe, facts, folds), _command(MOTION, facts, folds))


def _candidates(facts: Facts, *, large: bool) -> list[str]:
    """Return the recipes that suit the videos, those that take longest first."""
    if large:
        return [*([LARGE] if facts.device == "cuda" else []), SMALL, ATTENTIVE, PROBE]
    # Its penalty is chosen by groups of the training videos that are held out: of three, folds leave two.
    if facts.videos <= FEW and facts.per_class[1] <= FEW_OF_A_CLASS and facts.groups not in (1, 2):
        return [CELLS, PROBE]
    return [SMALL, ATTENTIVE, PROBE]


def _why_both(folds: int) -> str:
    """Return what the cell probe tells better, and what the motion probe."""
    compared = "their summary.json" if folds else "their top-1"
    return (
        "it tells classes by where things are in the frame and what follows what, such as strokes of tennis; classes "
        "that differ by motion anywhere in the frame, such as walking and running, the motion probe tells better. "
        f"No list of videos says which they are: train both and compare {compared}"
    )


def seconds_per_clip(recipe: str) -> float:
    """Measure the forward pass of a recipe's network over one training clip on this machine."""
    config = recognizer_config_of(recipe)
    device = pick_device(RuntimeOptions())
    model = to_device(config.model.build(), device, RuntimeOptions()).eval()
    clips = torch.zeros((2, *config.task.input_shape(config)), dtype=torch.uint8, device=device)
    times = []
    with torch.inference_mode():
        for _ in range(3):
            began = time.perf_counter()
            model(clips).sum().item()  # waits for the device
            times.append(time.perf_counter() - began)
    return min(times) / len(clips)


def _minutes(recipe: str, facts: Facts, folds: int, seconds: float) -> float:
    """Return the minutes that the network computes, without decoding; a backward pass takes twice a forward pass."""
    config = recognizer_config_of(recipe)
    if clips := config.task.probe.clips:  # shared by the folds
        return facts.videos * (clips + 1) * seconds / 60
    return facts.videos * config.schedule.epochs * (1 + _BACKWARD) * seconds * max(1, folds) / 60


def _why_split(facts: Facts, folds: int) -> str:
    if not folds:
        return "a fifth of the videos is held out for validation"
    groups = (
        "a group stays in one fold"
        if facts.groups
        else "where videos show the same person or scene, name it in a column 'group'"
    )
    return f"{folds} folds, as a single split of so few videos gives an unreliable estimate; {groups}"


def _command(recipe: str, facts: Facts, folds: int) -> str:
    source = f" --data.source {facts.kind}" if facts.kind != recognizer_config_of(recipe).data.source else ""
    split = f"--data.folds {folds}" if folds else "--data.val-fraction 0.2"
    return f"kinema train {recipe} --data.train {quote(facts.data)}{source} {split} --work-dir runs/{recipe}"


def _rounded(minutes: float) -> str:
    if minutes < 1:
        return "a minute"
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.0f} hours"


def _read(data: str) -> tuple[Index, MediaKind]:
    """Return the index, as video files or else as folders of images."""
    kinds: Sequence[MediaKind] = ("video", "rawframes", "packed")
    fault: UserError | None = None
    for kind in kinds:
        try:
            index = read_index(data, kind=kind)
            opener(DataOptions(source=kind), index.path(0)).open(index.path(0), index.num_frames(0) or None)
        except UserError as error:
            fault = fault or error
        except MediaError as error:
            fault = fault or UserError(f"{error}")
        else:
            return index, kind
    assert fault is not None
    raise fault


def _median_length(index: Index, kind: MediaKind) -> int:
    """Return the median number of frames of a few videos, evenly spread over the list."""
    lengths = []
    for row in range(0, len(index), max(1, len(index) // _SAMPLED)):
        try:
            video = opener(DataOptions(source=kind), index.path(row)).open(
                index.path(row), index.num_frames(row) or None
            )
        except MediaError:
            continue
        lengths.append(len(video))
    return int(statistics.median(lengths))
