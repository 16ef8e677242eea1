"""Features of whole videos, extracted by a recognizer: the input of localization."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache, partial
from pathlib import Path, PurePath
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kinema import strict_json
from kinema.config import check_bounds
from kinema.data.clips_along import ClipsAlong, read_clips_along
from kinema.data.features.files import REPORT
from kinema.data.features.packed import pack_features
from kinema.data.features.spans import FeatureSpan, described_span
from kinema.data.kinds import FLOW, KINDS, LabelMode, MediaKind, Source
from kinema.data.lists.annotations import check_whole_videos, read_index
from kinema.data.lists.class_folders import FILE_SUFFIXES
from kinema.data.lists.inputs import find_inputs
from kinema.data.patience import WITHOUT_OPTION, Patience
from kinema.data.readers.sources import Opener
from kinema.data.readers.timed_video import TimedVideo
from kinema.data.sampling import Sampling
from kinema.errors import UserError
from kinema.models.capabilities import HasFeatures, HasHead, require
from kinema.prepare.sources import labeled_units
from kinema.prepare.work.jobs import Summary, Unit, check_outputs, claim_folder, run_jobs
from kinema.runtime.device import RuntimeOptions, autocast, pick_device, to_device
from kinema.storage import StorageOptions, check_no_pipe, display_name, is_url, open_storage, replacing, write_text
from kinema.storage import suffix as suffix_of
from kinema.tasks.recognition.description import load_recognizer, read_recognizer
from kinema.tasks.recognition.features.options import ExtractOptions, FeatureOptions
from kinema.tasks.recognition.scoring import as_clips, in_parts
from kinema.tasks.recognition.settings import RecognizerDescription
from kinema.weights.find import find_model
from kinema.weights.model_files import digest

Singles = NDArray[np.float32]
B = TypeVar("B")

_FRAMES_AT_ONCE = 512
"""Maximum number of frames of the clips that are computed together; at least one clip."""

_WINDOW = 32
_RECORD = "features.json"

LIST_SUFFIXES = (".csv", ".tsv", ".txt", ".list")
"""Suffixes of URLs that are lists of videos."""


@dataclass(frozen=True, kw_only=True)
class VideoFeatures:
    """Features of one video.

    values: (T, C) float32; row t stands for frames t · stride to (t + 1) · stride of the video at its average rate.
    frames: of the video. fps: frames per second on average, None where nothing says it. start: seconds at which the
    first frame is shown, on a player's clock; more than 0 where sound precedes it.
    """

    values: Singles
    frames: int
    fps: float | None
    stride: float
    start: float = 0.0

    @property
    def duration(self) -> float | None:
        """Seconds."""
        return self.frames / self.fps if self.fps else None

    def description(self) -> dict[str, Any]:
        """Return the contents of NAME.json: all but the values."""
        rows, channels = self.values.shape
        return {
            "frames": self.frames, "fps": self.fps, "duration": self.duration,
            "stride": self.stride, "rows": rows, "channels": channels,
            **({"start": self.start} if self.start else {}),
        }  # fmt: skip

    @property
    def span(self) -> FeatureSpan | None:
        """Seconds that the rows cover; None if the frame rate is unknown."""
        return described_span(self.description())


@dataclass(frozen=True, kw_only=True)
class FeatureStream(Generic[B]):
    """Features of one video that are extracted as they are read, so that memory does not grow with the video.

    rows: their number. span: see `VideoFeatures`. blocks: (n, C) float32 of consecutive rows, or pairs of them.
    """

    rows: int
    span: FeatureSpan | None
    blocks: Iterator[B]


class FeatureExtractor:
    """Extractor of features of clips along a video, by a trained recognizer."""

    def __init__(self, model: Path, options: FeatureOptions) -> None:
        """Load a model and check the options against it.

        Raises:
            UserError: there is no such recognizer or device, or an option does not fit it.
        """
        runtime = RuntimeOptions(device=options.device, precision=options.precision)
        self._options = options
        self._runtime = runtime
        self._device = pick_device(runtime)
        module, description = load_recognizer(find_model(model))
        check_options(options, description)
        self._model = to_device(module, self._device, runtime)
        self._sampling = description.data.test_views.sampling
        self._patience = Patience(WITHOUT_OPTION, option="")
        self._crops = replace(description.data.test_views.crops, crops="center")
        self._opener = Opener(
            source=source_of(options, description),
            storage=open_storage(StorageOptions()),
            template=description.data.template
            if description.data.source == source_of(options, description)
            else "auto",
            reader=description.data.reader,
        )

    def extract(self, video: str) -> VideoFeatures:
        """Return the features of a video file or a folder of images; a local path or a URL.

        Raises:
            MediaError: the video cannot be read.
            StorageOutage: its storage did not answer for a minute.
        """
        return self._patience.through(partial(self._extract, video))

    def _extract(self, video: str) -> VideoFeatures:
        features, blocks = self._start(video)
        return replace(features, values=np.concatenate([*blocks]))

    def stream(self, video: str) -> FeatureStream[Singles]:
        """Return the same features block by block, which raise as `extract` does, without waiting again."""
        features, blocks = self._patience.through(partial(self._start, video))
        return FeatureStream(rows=len(features.values), span=features.span, blocks=blocks)

    def stream_beside(self, other: "FeatureExtractor", video: str) -> FeatureStream[tuple[Singles, Singles]]:
        """Return the same features, each block with that of another extractor at the same points in time.

        If both read the same frames, these are decoded once.
        """
        timed = self._patience.through(partial(self.open, video))
        features, own = self._layout(timed)
        if other._reads == self._reads:
            _, theirs = other._layout(timed)
            clips: Iterable[Sequence[Tensor]] = read_clips_along(
                timed.reader, [own, theirs], together=_together(own, theirs)
            )
        else:
            others = self._patience.through(partial(other.open, video))
            _, theirs = other._layout(others)
            together = _together(own, theirs)
            of_each = (
                read_clips_along(each.reader, [wanted], together=together)
                for each, wanted in ((timed, own), (others, theirs))
            )
            # Flow has a pair of images less than the video has frames: a last row may be without a counterpart.
            clips = ((one[0], two[0]) for one, two in zip(*of_each, strict=False))
        blocks = ((self._answers(one), other._answers(two)) for one, two in clips)
        return FeatureStream(rows=len(features.values), span=features.span, blocks=blocks)

    @property
    def _reads(self) -> tuple[str, str, str]:
        """What frames depend on."""
        return self._opener.source, self._opener.template, self._opener.reader

    def _start(self, video: str) -> tuple[VideoFeatures, Iterator[Singles]]:
        """The features of a video without their values, (T, 0), and the values to be, block by block."""
        timed = self.open(video)
        features, wanted = self._layout(timed)
        clips = read_clips_along(timed.reader, [wanted], together=_together(wanted))
        return features, (self._answers(each) for (each,) in clips)

    def _layout(self, timed: TimedVideo) -> tuple[VideoFeatures, ClipsAlong]:
        """The features of a video without their values, (T, 0), and the clips that they are of."""
        options, frames = self._options, len(timed.reader)
        count = options.parts or max(1, round(frames / options.stride))
        stride = frames / count if options.parts else float(options.stride)
        centres = (np.arange(count, dtype=np.float64) + 0.5) * stride
        places = clip_frames(self._sampling, centres, window=options.window or _WINDOW, num_frames=frames)
        fps, empty = timed.fps or options.fps or None, np.zeros((count, 0), np.float32)
        features = VideoFeatures(values=empty, frames=frames, fps=fps, stride=stride, start=timed.start)
        return features, ClipsAlong(places=places, crops=self._crops)

    def open(self, video: str) -> TimedVideo:
        """Open a video at a constant frame rate, as its features are extracted.

        Raises:
            MediaError: it cannot be read.
        """
        check_no_pipe(video)
        return self._opener.open_timed(video)

    @torch.inference_mode()
    def scores_of(self, features: Singles) -> Singles:
        """Return the class probabilities (T, classes) of features (T, C), by the model's last layer."""
        with autocast(self._device, self._runtime):
            head = require(self._model, HasHead, "class scores of features").head
            logits = head(torch.from_numpy(features).to(self._device)).float()
        scores: Singles = logits.softmax(-1).cpu().numpy()
        return scores

    @torch.inference_mode()
    def _answers(self, clips: Tensor) -> Singles:
        """Clips (n, T, C, H, W) uint8 → (n, C) float32."""
        here = as_clips(clips[:, None].to(self._device))
        with autocast(self._device, self._runtime):
            if self._options.layer == "features":
                compute = require(self._model, HasFeatures, "--layer features").forward_features
                return in_parts(compute, here).float().cpu().numpy()
            logits = in_parts(self._model, here).float()
        return (logits if self._options.layer == "logits" else logits.softmax(-1)).cpu().numpy()


def _together(*wanted: ClipsAlong) -> int:
    """Return the number of clips that are computed together."""
    return max(1, _FRAMES_AT_ONCE // max(each.places.shape[1] for each in wanted))


def clip_frames(sampling: Sampling, centres: NDArray[np.float64], *, window: int, num_frames: int) -> NDArray[np.int64]:
    """Return the frame indices (n, T) of clips centered at `centres`, in frames; frame i spans i to i + 1.

    A clip has `clip_len` frames, `frame_interval` apart; with segments, one such in the middle of each of `num_clips`
    parts of a `window`. Indices beyond the video's ends are clipped to its first and last frame.
    """
    segments = sampling.num_clips if sampling.joined else 1
    middles = ((np.arange(segments) + 0.5) / segments - 0.5) * (window if sampling.joined else 0)
    steps = (np.arange(sampling.clip_len) - sampling.clip_len / 2) * sampling.frame_interval
    places = centres[:, None, None] + middles[:, None] + steps
    # A single frame is the one whose middle is nearest.
    return np.floor(places).astype(np.int64).clip(0, num_frames - 1).reshape(len(centres), -1)


def extract_features(options: ExtractOptions) -> Summary:
    """Write the features of each video to NAME.npy or NAME.csv, described in NAME.json (see `VideoFeatures`).

    `features.json` records the model and the options, `failures.csv` the videos that failed. Files that exist are kept.

    Raises:
        UserError: the model, an option or a list is faulty, there are no videos, two of them have the same name, or
            the output folder was written with other options.
    """
    if not options.videos:
        raise UserError("no videos given: kinema prepare features MODEL VIDEO… --output FOLDER")
    output = options.output
    folder = find_model(options.model).absolute()
    description = read_recognizer(folder)
    check_options(options, description)
    pick_device(RuntimeOptions(device=options.device, precision=options.precision))
    suffix = ".csv" if options.format == "csv" else ".npy"
    units = _units(options, suffix, source_of(options, description))
    weights = digest(folder)
    claim_folder(output, _RECORD, _settings(folder, weights, description, options, suffix))
    summary = run_jobs(
        partial(write_features, folder, weights, options),
        units,
        title="Extracting features",
        report=output / REPORT,
        workers=options.workers,
        cluster=options.cluster,
    )
    if options.format == "packed":
        pack_features(
            {unit.output.stem: unit.output for unit in units if unit.output.exists()}, output / "features.safetensors"
        )
    return summary


def write_features(model: Path, weights: str, options: FeatureOptions, unit: Unit) -> None:
    """Write the description of the features of `unit.source`, then the features, to `unit.output`.

    `weights` is the `digest` of the model: a worker process reloads the model when it changes.

    Raises:
        MediaError: the video cannot be read.
    """
    found = _extractor(model, weights, options).extract(unit.source)
    write_text(unit.output.with_suffix(".json"), strict_json.dumps(found.description(), indent=1) + "\n")
    with replacing(unit.output) as temporary:
        if unit.output.suffix == ".csv":
            header = ",".join(f"f{number}" for number in range(found.values.shape[1]))
            np.savetxt(temporary, found.values, "%.9g", delimiter=",", header=header, comments="")
        else:
            np.save(temporary, found.values)


@lru_cache(maxsize=1)
def _extractor(model: Path, _weights: str, options: FeatureOptions) -> FeatureExtractor:
    """Return the extractor of this process."""
    return FeatureExtractor(model, options)


def source_of(options: FeatureOptions, description: RecognizerDescription) -> Source:
    """Return the kind of videos: that of the options, or that which the model was trained on."""
    return description.data.source if options.source == "auto" else options.source


def check_options(options: FeatureOptions, description: RecognizerDescription) -> None:
    """Raise UserError unless the options are in range and fit the model."""
    check_bounds(options)
    if options.window and not description.data.test_views.sampling.joined:
        sampling = description.data.test_views.sampling
        raise UserError(
            f"--window is for models that see segments of a clip; {description.recipe} has clips of "
            f"{sampling.clip_len} frames, {sampling.frame_interval} apart"
        )
    if (source_of(options, description) in FLOW) != (description.data.source in FLOW):
        trained = description.data.source
        raise UserError(f"--source {options.source}: the model was trained on {trained}, which is of another kind")


def _units(options: ExtractOptions, suffix: str, source: Source) -> list[Unit]:
    """Return a unit of work for each video, whose output has its name and lies in `output` itself."""
    output, root, labels, kind = options.output, options.root, options.labels, KINDS[source]
    found = list[tuple[str, str]]()
    for given in options.videos:
        found += _remote(given, kind, root, labels) or [
            (unit.source, unit.output.name)
            for unit in labeled_units(given, output, root=root, labels=labels, kind=kind, option="--source").units
        ]
    units = [Unit(source=path, output=output.absolute() / f"{name}{suffix}") for path, name in found]
    check_outputs(units)
    reserved = {_RECORD, REPORT}
    for unit in units:
        if taken := reserved.intersection((unit.output.name, unit.output.with_suffix(".json").name)):
            raise UserError(
                f"'{unit.source}' would become '{taken.pop()}', a file that the command itself writes: rename it"
            )
    return units


def _remote(given: str, kind: MediaKind, root: str, labels: LabelMode) -> list[tuple[str, str]]:
    """Return the URLs and names of the videos that `given` stands for; none if they are on this machine."""
    is_list = suffix_of(given) in LIST_SUFFIXES
    if is_list and (is_url(given) or is_url(root)):
        index = Patience(WITHOUT_OPTION, option="").through(
            lambda: read_index(given, kind=kind, root=root, labels=labels)
        )
        check_whole_videos(index)
        paths = index.paths()
    elif is_url(given):
        paths = [video.path for video in find_inputs([given])]
    else:
        return []
    names = map(display_name, paths)
    return [
        (path, str(PurePath(name).with_suffix("")) if kind in FILE_SUFFIXES else name)
        for path, name in zip(paths, names, strict=True)
    ]


def _settings(
    folder: Path, weights: str, description: RecognizerDescription, options: FeatureOptions, suffix: str
) -> dict[str, Any]:
    """Return the contents of `features.json`."""
    shown = {field.name: getattr(options, field.name) for field in fields(FeatureOptions) if field.name != "device"}
    classes = {} if options.layer == "features" else {"classes": list(description.classes)}
    model = {"model": str(folder), "weights": weights, "recipe": description.recipe}
    return {**model, "files": suffix, **shown, **classes}
