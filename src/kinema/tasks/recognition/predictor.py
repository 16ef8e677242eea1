"""Predictions of a recognizer for single videos."""

import logging
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import torch
from torch import Tensor

from kinema.console import progress as progress_bar
from kinema.data.kinds import FLOW, MediaKind
from kinema.data.lists.class_folders import PACK_SUFFIX, VIDEO_SUFFIXES
from kinema.data.options import DataOptions
from kinema.data.patience import WITHOUT_OPTION, Patience
from kinema.data.readers.frame_names import why
from kinema.data.readers.memory import ArrayReader, FrameArray, VideoInput, content_of, is_array
from kinema.data.readers.packed import open_packed
from kinema.data.readers.rawframes import open_flow, open_rawframes
from kinema.data.readers.reader import FrameReader
from kinema.data.readers.sources import open_video
from kinema.data.streams.background import InBackground
from kinema.data.streams.files import ReaderStream, open_file
from kinema.data.streams.stream import RecordedStream
from kinema.data.streams.windows import WindowSchedule
from kinema.data.views import Views, one_view, read_views
from kinema.errors import MediaError, UserError
from kinema.models.capabilities import HasFeatures, HasFixedShapes, require
from kinema.prediction import Prediction, WindowPrediction
from kinema.runtime.device import RuntimeOptions, autocast, pick_device, to_device
from kinema.storage import Direct, check_no_pipe, is_folder, is_url, suffix
from kinema.tasks.recognition.scoring import as_clips, in_parts, video_scores, view_logits
from kinema.tasks.recognition.settings import RecognizerDescription
from kinema.tasks.timeline.options import WhichViews
from kinema.tasks.timeline.predictions import Predictions
from kinema.tasks.timeline.streaming import stream_predictions
from kinema.weights.model_files import load_network

if TYPE_CHECKING:
    from kinema.report.explanation.content import Explanation

log = logging.getLogger(__name__)

_FRAMES_ON_CPU, _FRAMES_ON_GPU = 64, 512
"""Frames of a batch of clips along a video: larger ones are not faster, and their answers come later."""

_FRAMES_AHEAD, _MOST_AHEAD = 256, 8
"""Frames, and videos, that are read before the network takes them; at least one video."""


class RecognizerPredictor:
    """Predictor of a trained recognizer.

    Attributes:
        classes: names of the classes, in the order of the scores.
        folder: holds the model's files.
        frames_at_once: frames of a batch that fills the device.
        description: of the model; its `data.test_views` are what is averaged, and may be changed.
    """

    def __init__(self, folder: Path, description: RecognizerDescription, runtime: RuntimeOptions) -> None:
        self._runtime = runtime
        self._device = pick_device(runtime)
        self.folder, self.description = folder, description
        module = load_network(folder, description)
        self._model = to_device(module, self._device, runtime)
        self.classes = self.description.classes
        self.frames_at_once = _FRAMES_ON_CPU if self._device.type == "cpu" else _FRAMES_ON_GPU
        self._patience = Patience(WITHOUT_OPTION, option="")
        self._told = False  # which views a window has

    def __repr__(self) -> str:
        views, frames, height, width = self.description.data.test_views.shape
        classes = ", ".join([*self.classes[:3], *["…"] * (len(self.classes) > 3)])
        return (
            f"{type(self).__name__}(recipe={self.description.recipe!r}, {len(self.classes)} classes: {classes}; "
            f"{views} views of {frames} frames of {width}x{height}; device={str(self._device)!r}, "
            f"folder={str(self.folder)!r})"
        )

    def __rich_repr__(self) -> Iterator[tuple[str, Any]]:
        """Yield what rich prints."""
        views, frames, height, width = self.description.data.test_views.shape
        yield "recipe", self.description.recipe
        yield "classes", self.classes
        yield "input", f"{views} views of {frames} frames of {width}x{height}"
        yield "device", str(self._device)
        yield "folder", str(self.folder)

    @overload
    def predict(self, video: VideoInput, *, top: int = 5) -> list[Prediction]: ...  # type: ignore[overload-overlap]

    @overload
    def predict(
        self, video: Sequence[VideoInput], *, top: int = 5, progress: bool = False
    ) -> list[list[Prediction]]: ...

    def predict(
        self, video: VideoInput | Sequence[VideoInput], *, top: int = 5, progress: bool = False
    ) -> list[Prediction] | list[list[Prediction]]:
        """Return the `top` most probable classes of a video, best first; of a list of videos a list for each.

        Args:
            video: a video file or a folder of images (path or URL), the bytes of a file, a binary file object, or an
                array or tensor of frames (T, H, W, 3) uint8 RGB; or a list of these.
            top: number of classes.
            progress: whether to show a progress bar for a list.

        Errors are those of `scores`.
        """
        if isinstance(video, list | tuple):
            with progress_bar("predicting", len(video), show=progress) as meter:
                answers = []
                with closing(self.predict_each(video, top=top)) as found:
                    for answer in found:
                        if isinstance(answer, MediaError):
                            raise answer
                        answers.append(answer)
                        meter.advance()
            return answers
        return self._best(self.scores(video), top)  # type: ignore[arg-type]

    def predict_each(self, videos: Iterable[VideoInput], *, top: int = 5) -> Generator[list[Prediction] | MediaError]:
        """Yield the answer to each video in turn; see `kinema.training.task.PredictsEach`."""
        with self._reading(videos) as found:
            for path, views in found:
                if isinstance(views, MediaError):
                    yield views
                else:
                    yield self._best(self._scores(views[None], f"scores of {path}")[0], top)

    def _best(self, scores: Tensor, top: int) -> list[Prediction]:
        best = scores.topk(min(top, len(self.classes)))
        return [
            Prediction(self.classes[i], s) for s, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]

    def scores(self, video: VideoInput) -> Tensor:
        """Return probabilities (classes,) float32 on the CPU, averaged over the test views.

        Raises:
            MediaError: the video cannot be read.
            StorageOutage: its storage did not answer for a minute.
            UserError: an array is no video, or the scores are not finite.
        """
        path, views = self._test_views(video)
        return self._scores(views[None], f"scores of {path}")[0]

    @overload
    def embed(self, video: VideoInput) -> Tensor: ...

    @overload
    def embed(self, video: Sequence[VideoInput], *, progress: bool = False) -> Tensor: ...

    @torch.no_grad()  # features may be trained on, as those of inference mode may not
    def embed(self, video: VideoInput | Sequence[VideoInput], *, progress: bool = False) -> Tensor:
        """Return the features that the head takes, averaged over the test views: (F,) float32 on the CPU.

        Of a list of videos, (N, F). `video` and `progress` are those of `predict`.

        Raises:
            MediaError: a video cannot be read.
            UserError: the network has no features, or an array is no video.
        """
        if isinstance(video, list | tuple):
            with progress_bar("embedding", len(video), show=progress) as meter:
                features = []
                with self._reading(video) as found:
                    for _, views in found:
                        if isinstance(views, MediaError):
                            raise views
                        features.append(self._features(views))
                        meter.advance()
            return torch.stack(features) if features else torch.empty(0, 0)
        _, views = self._test_views(video)  # type: ignore[arg-type]
        return self._features(views)

    def _features(self, views: Tensor) -> Tensor:
        model = require(self._model, HasFeatures, "embed")
        with autocast(self._device, self._runtime):
            return in_parts(model.forward_features, as_clips(views[None].to(self._device))).float().mean(0).cpu()

    def stream(
        self,
        frames: VideoInput | Iterable[FrameArray],
        *,
        every: float = 1.0,
        window: float = 2.0,
        views: WhichViews = "val",
        fps: float = 0.0,
        top: int = 5,
        min_score: float = 0.0,
        live: bool = False,
        timeout: float = 10.0,
        patience: float = 600.0,
    ) -> Generator[WindowPrediction]:
        """Yield the most probable classes of windows along a video or a live stream, in order.

        See `kinema.training.task.Predictor`.
        """
        return stream_predictions(
            self,
            frames,
            WindowSchedule(every=every, window=window),
            Predictions(self.classes, top=top, min_score=min_score),
            views=views,
            fps=fps,
            live=live,
            timeout=timeout,
            patience=patience,
        )

    def _test_views(self, video: VideoInput) -> tuple[str, Tensor]:
        """Return the name of a video and its test views (V, T, C, H, W) uint8."""
        content = content_of(video)

        def read() -> tuple[str, Tensor]:
            reader = self.open(content)
            return reader.path, read_views(reader, self.description.data.test_views)

        return self._patience.through(read)

    def _reading(self, videos: Iterable[VideoInput]) -> InBackground[tuple[str, Tensor | MediaError]]:
        """Return the names and test views of videos, which a thread reads while the network computes."""

        def read() -> Iterator[tuple[str, Tensor | MediaError]]:
            for video in videos:
                try:
                    yield self._test_views(video)
                except MediaError as error:
                    yield error.path, error

        ahead = max(1, _FRAMES_AHEAD // self.description.data.test_views.frames)
        return InBackground(read(), ahead=min(ahead, _MOST_AHEAD))

    def views(self, which: WhichViews) -> Views:
        """Return the views of a validation or a test video; see `kinema.tasks.timeline.scorer.ScoresClips`."""
        data = self.description.data
        if data.source in FLOW:
            raise UserError(
                f"{self.folder} takes optical flow, which is not computed along a video or a stream: pass a model that "
                "takes RGB"
            )
        return self._val_views() if which == "val" else data.test_views

    def _val_views(self) -> Views:
        """Return the views of a validation video; of a graph for clips of another size, one view of a test video."""
        views = self.description.data.val_views
        if not isinstance(self._model, HasFixedShapes):
            return views
        (_, *size), ours = self._model.shapes[0], [*views.shape[1:]]
        if ours == size:
            return views
        if not self._told:
            self._told = True
            taken, usual = ("x".join(map(str, one)) for one in (size, ours))
            log.info("%s takes clips of %s, not %s as in validation: windows are seen as the middle of a test video, "
                     "by one clip and one crop", self.folder, taken, usual)  # fmt: skip
        return one_view(self.description.data.test_views)

    def clip_scores(self, clips: Tensor) -> Tensor:
        """Return probabilities (B, classes) float32 on the CPU of clips (B, V, T, C, H, W) uint8, averaged over V.

        Raises:
            UserError: the scores are not finite.
        """
        return self._scores(clips, "scores")

    @torch.inference_mode()
    def _scores(self, clips: Tensor, what: str) -> Tensor:
        with autocast(self._device, self._runtime):
            scores = video_scores(view_logits(self._model, clips.to(self._device)), self.description.task).cpu()
        if not scores.isfinite().all():
            raise UserError(f"{self.folder} returns {what} that are not finite: its weights are damaged")
        return scores

    def explain(self, video: str | Path, *, label: str = "", parts: int = 16) -> "Explanation":
        """Explain a class of a video, see `kinema.report.explanation.content.Explains`."""
        from kinema.tasks.recognition.explaining import explain

        reader = self._patience.through(lambda: self.open(video))
        return explain(self._model, reader, self.description, label=label, parts=parts, device=self._device)

    def open_stream(self, video: str | Path, *, fps: float = 0.0) -> RecordedStream:
        """Open the frames of a video in order; see `open_stream`."""
        return self._patience.through(partial(open_stream, video, self.description.data, fps=fps))

    def open(self, video: VideoInput) -> FrameReader:
        """Open the frames of a video; see `open_frames`."""
        content, data = content_of(video), self.description.data
        if is_array(content):
            return ArrayReader(content, channels=data.channels)
        if isinstance(content, bytes):
            return open_video(content, path="a file in memory", reader=data.reader)
        return open_frames(content, data)


def open_frames(video: str | Path, options: DataOptions) -> FrameReader:
    """Open the frames of a video file, a folder of images or a packed file of them; a local path or a URL.

    Where `options.source` is optical flow, folders and packed files hold that.

    Raises:
        MediaError: it cannot be opened, or is a video file where optical flow is needed.
        StorageOutage: its storage does not answer.
    """
    path, flow = str(video), options.source in FLOW
    check_no_pipe(path)
    try:
        match _kind(path):
            case "rawframes":
                return (open_flow if flow else open_rawframes)(path, template=options.template)
            case "packed":
                return open_packed(path, flow=flow)
        if flow:
            raise MediaError(path, "the model sees optical flow: pass what `kinema prepare flow` makes of the video")
        source = Direct().local(path)
    except OSError as error:
        raise MediaError(path, why(error)) from None
    return open_video(source, path=path, reader=options.reader)


def open_stream(video: str | Path, options: DataOptions, *, fps: float = 0.0) -> RecordedStream:
    """Open the RGB frames of a video in order: of a file, a folder of images or a packed file; a local path or a URL.

    Args:
        video: a local path or a URL.
        options: names of images in folders.
        fps: frames per second of images, which do not say it.

    Raises:
        MediaError: it cannot be opened, or `fps` is missing.
        StorageOutage: its storage does not answer.
    """
    path = str(video)
    check_no_pipe(path)
    try:
        if _kind(path) == "video":
            return open_file(path)
    except OSError as error:
        raise MediaError(path, why(error)) from None
    reader = open_frames(path, options)
    if not (rate := reader.fps or fps):
        raise MediaError(path, "images do not say their frames per second: pass --fps")
    return ReaderStream(reader, fps=rate)


def _kind(path: str) -> MediaKind:
    """Return what is at a local path or a URL. A server is not asked about what the name tells."""
    ending = suffix(path)
    if not (is_url(path) and ending in (*VIDEO_SUFFIXES, PACK_SUFFIX)) and is_folder(path):
        return "rawframes"
    return "packed" if ending == PACK_SUFFIX else "video"
