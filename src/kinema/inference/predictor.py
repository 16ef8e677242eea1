"""A trained model at work on single videos."""

from pathlib import Path

import torch
from torch import Tensor

from kinema.data.class_folders import PACK_SUFFIX
from kinema.data.dataset import DataOptions
from kinema.data.packed import open_packed
from kinema.data.rawframes import open_rawframes
from kinema.data.reader import FrameReader
from kinema.data.sources import check_no_pipe
from kinema.data.video import open_video
from kinema.data.views import read_views
from kinema.errors import UserError
from kinema.inference.model_files import find_model, load_model
from kinema.inference.prediction import Prediction
from kinema.inference.runtime import RuntimeOptions, autocast, pick_device, place
from kinema.recognition import video_scores


class Predictor:
    """A trained model, ready to be asked what happens in a video.

    Attributes:
        classes: names of the classes, in the order of the scores.
        folder: holds the model's files.
        description: what the model is and how videos are shown to it; `test_views` may be changed.
    """

    def __init__(self, model: Path, runtime: RuntimeOptions) -> None:
        self._runtime = runtime
        self._device = pick_device(runtime)
        self.folder = find_model(model)
        module, self.description = load_model(self.folder)
        self._model = place(module, self._device, runtime)
        self.classes = self.description.classes

    def predict(self, video: str | Path, *, top: int = 5) -> list[Prediction]:
        """The `top` most probable classes of a video file, or of a folder of images, best first.

        Raises:
            MediaError: the video cannot be read.
        """
        best = self.scores(video).topk(min(top, len(self.classes)))
        return [
            Prediction(self.classes[i], s) for s, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]

    @torch.inference_mode()
    def scores(self, video: str | Path) -> Tensor:
        """(classes,) float32 probabilities on the CPU, averaged over the views of the model's recipe.

        Raises:
            MediaError: the video cannot be read.
            UserError: the scores are not finite numbers.
        """
        clips = read_views(self.open(video), self.description.test_views)[None].to(self._device)
        with autocast(self._device, self._runtime):
            scores = video_scores(self._model, clips, self.description.task)[0].cpu()
        if not scores.isfinite().all():
            raise UserError(
                f"{self.folder} gives scores of {video} that are not finite numbers: its weights are damaged"
            )
        return scores

    def open(self, video: str | Path) -> FrameReader:
        """The frames of a video file, or of a folder of images.

        Raises:
            MediaError: it cannot be opened.
        """
        return open_frames(video, self.description.data)


def load(model: str | Path, *, device: str = "auto") -> Predictor:
    """The trained model of a run folder, a checkpoint folder or a `model.safetensors`; `device`: auto, cpu or cuda.

    Raises:
        UserError: there is no model, its files are damaged, or the device is not there.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f"device '{device}' is none of auto, cpu, cuda")
    return Predictor(Path(model), RuntimeOptions(device=device))  # type: ignore[arg-type]


def open_frames(video: str | Path, options: DataOptions) -> FrameReader:
    """The frames of a video file, of a folder of images, or of a packed file of them.

    Raises:
        MediaError: it cannot be opened.
    """
    check_no_pipe(str(video))
    if Path(video).is_dir():
        return open_rawframes(str(video), template=options.template)
    if Path(video).suffix.lower() == PACK_SUFFIX:
        return open_packed(str(video))
    return open_video(str(video), reader=options.reader)
