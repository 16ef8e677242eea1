"""Videos of a ground truth, with the spans of their features and their instances."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kinema.data.features.source import FeatureSource
from kinema.data.features.spans import FeatureSpan, whole_video
from kinema.errors import UserError
from kinema.tasks.localization.metrics.annotations import GroundTruth, read_ground_truth, subsets_of
from kinema.tasks.localization.metrics.segments import Floats

log = logging.getLogger(__name__)

_SAME_SECONDS, _SAME_SHARE = 0.1, 0.02
"""Durations that differ by no more than either of these, in seconds or as a fraction, do not contradict each other."""


@dataclass(frozen=True, kw_only=True)
class Videos:
    """Videos with the instances in them.

    truth: as the file has it, in seconds. spans: which seconds of each video its features cover. instances: of each
    video (m, 2) start and end as fractions of its span, m ≥ 0, without ambiguous ones. Where no features are read, but
    candidates, which say both themselves, these two are empty.
    """

    truth: GroundTruth
    spans: tuple[FeatureSpan, ...] = ()
    instances: tuple[Floats, ...] = ()

    def __len__(self) -> int:
        return len(self.truth.videos)

    def name(self, row: int) -> str:
        """The name of a video."""
        return self.truth.videos[row]

    def rows(self, kept: Sequence[int]) -> "Videos":
        """Return some of the videos; the rest of their ground truth, which is not looked at then, stays that of all."""
        return Videos(
            truth=replace(self.truth, videos=tuple(self.truth.videos[row] for row in kept)),
            spans=tuple(self.spans[row] for row in kept),
            instances=tuple(self.instances[row] for row in kept),
        )


def read_truth(path: str, subset: str, *, own_file: bool = False) -> GroundTruth:
    """Read the videos of a subset, whose instances need no labels.

    Args:
        path: the ground truth, see `read_ground_truth`.
        subset: which of its videos.
        own_file: whether nothing else is done with the file, so that one that names no subsets is read whole.

    Raises:
        UserError: the file is faulty, has no such subset, or no video has an instance.
    """
    if not subsets_of(path):
        if not own_file:
            raise UserError(
                f"{path} does not say of what subset its videos are: the file of the training videos belongs to "
                "--data.ground-truth, that of the validation videos to --data.val-ground-truth"
            )
        subset = ""
    truth = read_ground_truth(path, subset=subset, labelled=False)
    if not (truth.label >= 0).any():
        raise UserError(f"{path}: no video{f' of the subset {subset!r}' * bool(subset)} has an instance")
    return truth


def with_features(path: str, truth: GroundTruth, source: FeatureSource) -> Videos:
    """Combine the videos of a ground truth with the spans of their features.

    Which seconds the features of a video cover is known by what lies beside them (NAME.json of `kinema prepare
    features`), or else by the ground truth's feature_frame and duration_frame; or else they cover all of its duration.
    What instances reach beyond that is cut off. Said are instances that lie outside it altogether, and durations that
    contradict those of the features.

    Args:
        path: where the ground truth was read, for messages.
        truth: the ground truth.
        source: the features.

    Raises:
        UserError: nothing says how long a video is.
    """
    described = source.spans(dict(zip(truth.videos, truth.durations.tolist(), strict=True)))
    _warn_of_durations(path, truth, described)
    shares = np.full(len(truth.videos), np.nan) if truth.feature_shares is None else truth.feature_shares
    spans = []
    for video, duration, share in zip(truth.videos, truth.durations.tolist(), shares.tolist(), strict=True):
        if video not in described and not duration > 0:
            raise UserError(f"{path}: video {video} has no duration in seconds")
        spans.append(described.get(video) or whole_video(duration, share=1.0 if np.isnan(share) else share))
    starts, ends = np.array([(span.start, span.end) for span in spans], np.float64).T[..., truth.video, None]
    fractions = ((truth.segments - starts) / (ends - starts)).clip(0, 1)
    wanted, inside = truth.label >= 0, fractions[:, 1] > fractions[:, 0]
    if outside := int((wanted & ~inside).sum()):
        log.warning(
            "%s: %d of %d instances have no length, or lie outside the seconds that the features of their video cover: "
            "nothing is learned from them, and proposals are measured as missing them, as in ActivityNet's code",
            path, outside, int(wanted.sum()),
        )  # fmt: skip
    kept = wanted & inside
    order = np.argsort(truth.video[kept], kind="stable")
    counts = np.bincount(truth.video[kept], minlength=len(truth.videos))
    instances = tuple(np.split(fractions[kept][order], np.cumsum(counts)[:-1]))
    return Videos(truth=truth, spans=tuple(spans), instances=instances)


def _warn_of_durations(path: str, truth: GroundTruth, described: dict[str, FeatureSpan]) -> None:
    differing = [
        (video, duration, described[video].last)
        for video, duration in zip(truth.videos, truth.durations.tolist(), strict=True)
        if video in described
        and abs(duration - described[video].last)
        > max(_SAME_SECONDS, _SAME_SHARE * max(duration, described[video].last))
    ]
    if differing:
        video, here, there = differing[0]
        log.warning(
            "%s: the durations of %d of %d videos contradict those of the videos that the features were made of, such "
            "as %s: %.2f s here, %.2f s there. The features' are taken; if these are other videos, or --fps was wrong, "
            "all times are wrong",
            path, len(differing), len(described), video, here, there,
        )  # fmt: skip
