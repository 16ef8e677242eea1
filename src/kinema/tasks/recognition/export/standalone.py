"""A program that runs an exported recognizer without Kinema."""

from pathlib import Path

from kinema.data.sampling import Sampling
from kinema.errors import UserError
from kinema.tasks.recognition.settings import RecognizerDescription

_SCRIPT = """\
# Runs {name} without Kinema: pip install av numpy onnxruntime
import json, sys
import av, numpy as np, onnxruntime

session = onnxruntime.InferenceSession({file!r}, providers=["CPUExecutionProvider"])
classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
frames = [frame.to_ndarray(format="rgb24") for frame in av.open(sys.argv[1]).decode(video=0)]
{starts}
index = (np.int64(starts)[:, None] + np.array({steps})){reshape} % len(frames)
(h, w), size = frames[0].shape[:2], {size}
side = round(min(h, w) * size / {short_side})
scale = max(side / size, 1)  # antialiased bilinear resizing: the rows of `taps` are triangles over the pixels
taps = np.maximum(1 - abs(np.arange(side) + 0.5 - (np.arange(size)[:, None] + 0.5) * side / size) / scale, 0)
taps /= taps.sum(1, keepdims=True)
resize = lambda image: np.rint(np.einsum("yh,hwc,xw->yxc", taps, image, taps, optimize=True)).astype(np.uint8)
{boxes}
views = np.stack([[resize(frames[i][y:y + side, x:x + side]) for i in clip] for y, x in boxes for clip in index])
{mirror}logits = session.run(None, {{"clips": np.ascontiguousarray(views.transpose(0, 4, 1, 2, 3))}})[0]{temperature}
{scores}
for i in np.argsort(-scores)[:5]:
    print(f"{{scores[i]:.4f}}  {{classes[i]}}")
"""

_BOXES = {
    "center": "boxes = [((h - side) // 2, (w - side) // 2)]",
    "three": "boxes = [((h - side) * a // 2, (w - side) * b // 2) for a, b in "
    "([(1, 0), (1, 1), (1, 2)] if w >= h else [(0, 1), (1, 1), (2, 1)])]",
    "ten": "boxes = [(a, b) for a in (0, h - side) for b in (0, w - side)] + [((h - side) // 2, (w - side) // 2)]",
}


def script(file: Path, description: RecognizerDescription) -> str:
    """Return the program; it prints the five best classes of the video that its argument names.

    Raises:
        UserError: the model sees optical flow.
    """
    views, task = description.data.test_views, description.task
    if description.data.channels != 3:
        raise UserError("a model of optical flow has no program of its own: it needs flow, not a video")
    sampling = views.sampling
    return _SCRIPT.format(
        name=file.name,
        file=str(file),
        starts=_starts(sampling),
        steps=_steps(sampling),
        reshape=f".reshape(-1, {sampling.frames})" if sampling.joined else "",
        size=views.crops.size,
        short_side=views.crops.short_side,
        boxes=_BOXES[views.crops.crops],
        mirror="views = np.concatenate([views, views[:, :, :, ::-1]])\n" if views.crops.crops == "ten" else "",
        temperature=f" / {task.temperature}" if task.temperature != 1 else "",
        scores=_scores(task.labels, task.average),
    )


def _steps(sampling: Sampling) -> list[int]:
    """Return the frames of a clip, counted from its first one."""
    if sampling.spread and sampling.clip_len > 1:
        last = sampling.clip_len * sampling.frame_interval - 1
        return [step * last // (sampling.clip_len - 1) for step in range(sampling.clip_len)]
    return [step * sampling.frame_interval for step in range(sampling.clip_len)]


def _starts(sampling: Sampling) -> str:
    part = f"max(len(frames) - {sampling.clip_len * sampling.frame_interval - 1}, 0) / {sampling.num_clips}"
    clips = f"np.arange({sampling.num_clips})"
    if sampling.twice:
        return f"starts = np.concatenate([{clips} * {part}, ({clips} + 0.5) * {part}])"
    return f"starts = ({clips} + 0.5) * {part}"


def _scores(labels: str, average: str) -> str:
    logits = "logits.mean(0, keepdims=True)" if average == "score" else "logits"
    over_views = "max(0)" if average == "max" else "mean(0)"
    if labels == "multi":
        return f"scores = (1 / (1 + np.exp(-{logits}))).{over_views}"
    return f"scores = np.exp({logits} - np.logaddexp.reduce({logits}, 1, keepdims=True)).{over_views}"
