"""Predictions of a recognizer for single videos."""

from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from kinema.data.kinds import FLOW, MediaKind
from kinema.data.lists.class_folders import PACK_SUFFIX, VIDEO_SUFFIXES
from kinema.data.options import DataOptions
from kinema.data.patience import WITHOUT_OPTION, Patience
from kinema.data.readers.frame_names import why
from kinema.data.readers.packed import open_packed
from kinema.data.readers.rawframes import open_flow, open_rawframes
from kinema.data.readers.reader import FrameReader
from kinema.data.readers.sources import open_video
from kinema.data.streams.files import ReaderStream, open_file
from kinema.data.streams.stream import RecordedStream
from kinema.data.views import Views, read_views
from kinema.errors import MediaError, UserError
from kinema.prediction import Prediction
from kinema.runtime.device import RuntimeOptions, autocast, pick_device, to_device
from kinema.storage import Direct, check_no_pipe, is_folder, is_url, suffix
from kinema.tasks.recognition.options import RecognizerDescription
from kinema.tasks.recognition.scoring import video_scores, view_logits
from kinema.weights.model_files import load_network

_FRAMES_ON_CPU, _FRAMES_ON_GPU = 64, 512
"""Frames of a batch of clips along a video: larger ones are not faster, and their answers come later."""


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

    def predict(self, video: str | Path, *, top: int = 5) -> list[Prediction]:
        """Return the `top` most probable classes of a video file or a folder of images (path or URL), best first.

        Errors are those of `scores`.
        """
        best = self.scores(video).topk(min(top, len(self.classes)))
        return [
            Prediction(self.classes[i], s) for s, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]

    def scores(self, video: str | Path) -> Tensor:
        """Return probabilities (classes,) float32 on the CPU, averaged over the test views.

        Raises:
            MediaError: the video cannot be read.
            StorageOutage: its storage did not answer for a minute.
            UserError: the scores are not finite.
        """
        views = self._patience.through(lambda: read_views(self.open(video), self.description.data.test_views))
        return self._scores(views[None], f"scores of {video}")[0]

    def views(self, which: Literal["val", "test"]) -> Views:
        """Return the views of a validation or a test video; see `kinema.tasks.timeline.scorer.ScoresClips`."""
        data = self.description.data
        if data.source in FLOW:
            raise UserError(
                f"{self.folder} takes optical flow, which is not computed along a video or a stream: pass a model that "
                "takes RGB"
            )
        return data.val_views if which == "val" else data.test_views

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

    def stream(self, video: str | Path, *, fps: float = 0.0) -> RecordedStream:
        """Open the frames of a video in order; see `open_stream`."""
        return self._patience.through(partial(open_stream, video, self.description.data, fps=fps))

    def open(self, video: str | Path) -> FrameReader:
        """Open the frames of a video file or a folder of images; see `open_frames`."""
        return open_frames(video, self.description.data)


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
