"""Localization of raw videos: features, proposals and their labels."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kinema.data.features.spans import FeatureSpan
from kinema.data.readers.reader import FrameReader
from kinema.errors import MediaError, UserError, did_you_mean
from kinema.tasks.localization.metrics.class_scores import label_proposals, with_labels
from kinema.tasks.localization.metrics.results import Proposals, in_seconds
from kinema.tasks.localization.metrics.segments import Floats
from kinema.tasks.localization.proposer import Proposer, network_input
from kinema.tasks.localization.video.options import LocalizeOptions
from kinema.version import __version__

log = logging.getLogger(__name__)

_TOUCHES = 1e-6
"""Of a clip."""

_LONG_PART = 5.0
"""Seconds: a part of a video that is longer than this is worth a warning."""


@dataclass(frozen=True, kw_only=True)
class Localization:
    """Segments of a video of `seconds`, whose labels, if they have any, index `classes`."""

    seconds: float
    found: Proposals
    classes: tuple[str, ...]


class ExtractedFeatures(Protocol):
    """Features of a raw video."""

    @property
    def rows(self) -> int:
        """Their number."""

    @property
    def span(self) -> FeatureSpan | None:
        """The seconds that they cover; None: the frame rate is unknown."""

    @property
    def blocks(self) -> Iterator[tuple[NDArray[np.float32], Floats | None]]:
        """(n, C) consecutive features, extracted as they are taken, and probabilities (n, classes) of their clips."""


class VideoEncoder(Protocol):
    """Extracts features of raw videos as a localizer was trained on, and scores classes along them.

    Its methods raise MediaError for videos that cannot be read.
    """

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes."""

    @property
    def folders(self) -> Sequence[Path]:
        """Folders of the models' files."""

    @property
    def settings(self) -> object:
        """All else that features and scores depend on; its `repr` differs where it does."""

    def extract(self, video: str | Path, *, scores: bool) -> ExtractedFeatures:
        """Extract the features of a video; `scores`: with the probabilities of classes, which are None otherwise."""

    def open(self, video: str | Path) -> FrameReader:
        """Open the frames of a video, at a constant frame rate."""


class Localizer(Protocol):
    """Localizes segments in raw videos."""

    @property
    def classes(self) -> Sequence[str]:
        """Names of the labels; none where segments stay without."""

    @property
    def origin(self) -> str:
        """A digest of the models and options, which differs where answers may differ."""

    def localize(self, video: str | Path) -> Localization:
        """Localize segments of a video file, or of a folder of images; in seconds, best first.

        Raises:
            MediaError: the video cannot be read, or nothing says how long it is.
        """

    def open(self, video: str | Path) -> FrameReader:
        """Open the frames of a video, at a constant frame rate."""


class VideoLocalizer:
    """A localizer of raw videos.

    Attributes:
        classes: names of the labels; none where segments stay without.
        origin: a digest of the models and options, which differs where answers may differ.
    """

    def __init__(self, proposer: Proposer, encoder: VideoEncoder, options: LocalizeOptions) -> None:
        """Combine a localizer with what extracts its features.

        Raises:
            UserError: `options.background` is none of the classes.
        """
        self._proposer, self._encoder, self._options = proposer, encoder, options
        self.origin = _origin(proposer, encoder, options)
        self.classes = (proposer.classes or tuple(encoder.classes)) if options.labels != "none" else ()
        if options.background and options.background not in self.classes:
            owner = "localizer" if proposer.classes else "classifier"
            raise UserError(
                f"--background {options.background} is no class of the {owner}"
                f"{did_you_mean(options.background, self.classes)}; it has {', '.join(self.classes)}"
            )

    def localize(self, video: str | Path) -> Localization:
        """Localize segments of a video file, or of a folder of images; in seconds, best first.

        Raises:
            MediaError: the video cannot be read, or nothing says how long it is.
            UserError: the features are not as the localizer takes them.
        """
        own_labels = bool(self._proposer.classes) or self._options.labels == "none"
        features = self._encoder.extract(video, scores=not own_labels)
        if (span := features.span) is None:
            raise MediaError(str(video), "a folder of images does not say its frames per second: give --fps")
        scores = list[Floats]()
        blocks = self._checked(features.blocks, scores)
        proposals = self._propose(blocks, features.rows, span, video)
        for _ in blocks:  # that follow the last window
            pass
        proposals = self._with_labels(proposals, scores, span)
        best = np.flatnonzero(proposals.scores >= self._options.least_score)[: self._options.most]
        return Localization(seconds=span.last, found=proposals[best], classes=self.classes)

    def _checked(
        self, blocks: Iterator[tuple[NDArray[np.float32], Floats | None]], scores: list[Floats]
    ) -> Iterator[NDArray[np.float32]]:
        """Check blocks of features as they come, and add their class scores, if there are any, to `scores`."""
        for block, of_block in blocks:
            if block.shape[1] != self._proposer.channels:
                raise UserError(
                    f"the localizer takes {self._proposer.channels} features at each point in time, the encoder "
                    f"extracts {block.shape[1]}: pass --features, a folder of features as it was trained on"
                )
            if of_block is not None:
                scores.append(of_block)
            yield block

    def _propose(
        self, blocks: Iterator[NDArray[np.float32]], rows: int, span: FeatureSpan, video: str | Path
    ) -> Proposals:
        """Return segments in seconds of a video with `rows` features that come in blocks."""
        proposer, seconds = self._proposer, span.end - span.start
        if proposer.in_windows is not None:
            if proposer.parts is not None:
                window = proposer.data.windows.rows(rows, span) / rows
                _warn_of_long_parts(video, "its windows last", window * seconds, proposer.parts)
            return proposer.in_windows.propose(blocks, rows, span)
        if proposer.parts is not None:
            _warn_of_long_parts(video, "it lasts", seconds, proposer.parts)
        features = network_input(np.concatenate([*blocks]), proposer.parts, proposer.data.rescaling)
        return in_seconds(proposer.propose(features), span)

    def open(self, video: str | Path) -> FrameReader:
        """Open the frames of a video file, at a constant frame rate, or of a folder of images."""
        return self._encoder.open(video)

    def _with_labels(self, proposals: Proposals, of_blocks: Sequence[Floats], span: FeatureSpan) -> Proposals:
        """Return segments with the labels that the options ask for: the localizer's own, or the encoder's."""
        if self._options.labels == "none":
            return replace(proposals, labels=None)
        background = self.classes.index(self._options.background) if self._options.background else None
        if proposals.labels is None:
            scores = np.concatenate(of_blocks)
            if background is not None:
                scores[:, background] = 0
            return self._labelled(proposals, scores, span)
        return proposals if background is None else proposals[np.flatnonzero(proposals.labels != background)]

    def _labelled(self, proposals: Proposals, scores: Floats, span: FeatureSpan) -> Proposals:
        """Give segments their labels by class scores (T, classes) of clips all along a span of the video."""
        top = self._options.top_classes
        if self._options.labels == "video":
            return label_proposals(proposals, scores.mean(axis=0), top=top)
        sums = np.concatenate([np.zeros((1, scores.shape[1])), scores.cumsum(axis=0)])
        bounds = span.fractions(proposals.segments) * len(scores)
        # A segment that touches a clip by no more than the rounding of its seconds does not see it.
        first = np.floor(bounds[:, 0] + _TOUCHES).astype(int).clip(0, len(scores) - 1)
        last = np.maximum(np.ceil(bounds[:, 1] - _TOUCHES).astype(int).clip(0, len(scores)), first + 1)
        of_segments = (sums[last] - sums[first]) / (last - first)[:, None]
        best = np.argsort(-of_segments, axis=1, kind="stable")[:, :top]
        return with_labels(proposals, best, np.take_along_axis(of_segments, best, axis=1))


def _warn_of_long_parts(video: str | Path, lasts: str, seconds: float, parts: int) -> None:
    if (shortest := seconds / parts) > _LONG_PART:
        log.warning(
            "%s: %s %.0f s, so that the shortest segment of a localizer of %d points is %.1f s long: for shorter ones "
            "train it on shorter windows (--data.windows.seconds)",
            video, lasts, seconds, parts, shortest,
        )  # fmt: skip


def features_folder(proposer: Proposer, options: LocalizeOptions) -> Path:
    """Return the folder of features by whose record those of raw videos are extracted.

    Raises:
        UserError: the localizer was trained on several kinds of features side by side.
    """
    folders = [str(options.features)] if options.features else list(proposer.data.features)
    if len(folders) != 1:
        raise UserError(
            f"the localizer was trained on features of {len(folders)} kinds side by side ({', '.join(folders)}); "
            "of a raw video only one kind can be extracted"
        )
    return Path(folders[0])


def _origin(proposer: Proposer, encoder: VideoEncoder, options: LocalizeOptions) -> str:
    return origin_of((*proposer.folders, *encoder.folders), encoder.settings, options)


def origin_of(folders: Sequence[Path], settings: object, options: LocalizeOptions) -> str:
    """Return a digest of models, and of what answers depend on."""
    files = [
        path.read_bytes()
        for folder in folders
        for path in ([folder] if folder.is_file() else sorted(folder.glob("model.*")))  # a file: an exported model
    ]
    chosen = replace(options, device="auto", features=None, classifier=None)
    return blake2b(b"".join(files) + repr((__version__, settings, chosen)).encode(), digest_size=8).hexdigest()
