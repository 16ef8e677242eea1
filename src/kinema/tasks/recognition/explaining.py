"""Explanation of a recognizer's predictions: heat of every frame, and what parts of the video decided."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kinema.console import progress
from kinema.data.crops import Box, crop_views, view_boxes
from kinema.data.readers.reader import FrameReader
from kinema.data.sampling import sample_test
from kinema.data.views import Views
from kinema.errors import UserError, did_you_mean
from kinema.prediction import Prediction
from kinema.report.explanation.content import Explanation, Floats, Part
from kinema.report.explanation.heat import heat_of, method_of, resized
from kinema.report.render import CLOCK, ticks_of
from kinema.tasks.recognition.scoring import as_clips, video_scores, view_logits
from kinema.tasks.recognition.settings import RecognizerDescription

_FPS = 16.0  # of folders of images, as in `kinema.report.render`
_TOP = 5


def explain(
    model: nn.Module, reader: FrameReader, description: RecognizerDescription, *, label: str = "", parts: int = 16,
    device: torch.device,
) -> Explanation:  # fmt: skip
    """Explain a class of a video by the test clips and their centre crop.

    Heat of a clip is interpolated to its frames, averaged where clips share frames, and interpolated in time between
    the frames that the network sees. A part of the video is hidden (Zeiler & Fergus, 2014, arXiv:1311.2901, section
    4.2) by the mean colour of the clips, at which their brightness does not jump.

    Raises:
        MediaError: The video cannot be read.
        UserError: There is no such class, or the network has neither feature maps nor attention.
    """
    method = method_of(model)
    views = description.data.test_views
    views = replace(views, crops=replace(views.crops, crops="center"))
    indices, clips, box = _clips(reader, views)
    clips = clips.to(device)
    with torch.inference_mode():
        scores = video_scores(view_logits(model, clips[None]), description.task)[0].cpu()
    target = _class_of(label, description.classes) if label else int(scores.argmax())
    best = scores.topk(min(_TOP, len(scores)))
    times = np.array(ticks_of(reader, _FPS)) / CLOCK
    return Explanation(
        video=reader.path,
        label=description.classes[target],
        score=float(scores[target]),
        predictions=tuple(
            Prediction(description.classes[i], s)
            for s, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ),
        method=method,
        heat=_heat(model, clips, indices, target, frames=len(reader)),
        box=box,
        times=times,
        parts=_occlusion(model, clips, indices, target, description, times=times, parts=parts),
        reader=reader,
    )


def _clips(reader: FrameReader, views: Views) -> tuple[NDArray[np.int64], Tensor, Box]:
    """Return frame indices (V, T), clips (V, T, C, H, W) uint8, and the box that they show."""
    indices = sample_test(views.sampling, len(reader))
    frames = reader.frames(indices.ravel().tolist()).unflatten(0, indices.shape)
    _, _, height, width, _ = frames.shape
    (box,) = view_boxes(height, width, views.crops)
    return indices, crop_views(frames, views.crops), box


def _heat(model: nn.Module, clips: Tensor, indices: NDArray[np.int64], target: int, *, frames: int) -> Floats:
    """Return heat of all frames of the video, (frames, H', W'), scaled to a maximum of 1."""
    total: Floats | None = None
    seen = np.zeros(frames)
    with progress("explaining", len(clips)) as meter:
        for clip, shown in zip(clips, indices, strict=True):
            coarse = heat_of(model, as_clips(clip[None, None]), target)
            heat = resized(coarse, (len(shown), *coarse.shape[2:]))[0].cpu().double().numpy()
            if total is None:
                total = np.zeros((frames, *heat.shape[1:]))
            np.add.at(total, shown, heat)
            np.add.at(seen, shown, 1)
            meter.advance()
    assert total is not None
    known = np.flatnonzero(seen)
    cells = (total[known] / seen[known, None, None]).reshape(len(known), -1)
    filled = np.stack([np.interp(np.arange(frames), known, cell) for cell in cells.T], axis=1)
    return filled.reshape(total.shape) / max(filled.max(), 1e-12)


@torch.inference_mode()
def _occlusion(
    model: nn.Module, clips: Tensor, indices: NDArray[np.int64], target: int, description: RecognizerDescription, *,
    times: Floats, parts: int,
) -> tuple[Part, ...]:  # fmt: skip
    """Return the probability of a class where each of equal parts of the video is hidden."""
    since_start = times - times[0]
    edges = np.linspace(0, since_start[-1], min(parts, len(np.unique(indices))) + 1)
    part_of = np.clip(np.searchsorted(edges, since_start[:-1], side="right") - 1, 0, len(edges) - 2)[indices]
    colour = clips.float().mean(dim=(0, 1, 3, 4)).round().to(torch.uint8)[:, None, None]
    found = []
    with progress("hiding parts", len(edges) - 1) as meter:
        for number, (start, end) in enumerate(pairwise(edges.tolist())):
            hidden = torch.from_numpy(part_of == number).to(clips.device)
            score = None
            if hidden.any():
                changed = torch.where(hidden[:, :, None, None, None], colour, clips)
                score = float(video_scores(view_logits(model, changed[None]), description.task)[0, target])
            found.append(Part(start=start, end=end, score=score))
            meter.advance()
    return tuple(found)


def _class_of(label: str, classes: tuple[str, ...]) -> int:
    if label not in classes:
        shown = ", ".join(classes[:10]) + (" …" if len(classes) > 10 else "")
        raise UserError(f"--class {label}: the model has no such class{did_you_mean(label, classes)}; it has {shown}")
    return classes.index(label)
