"""The training pipeline of MMAction2, as its configs state it, by decord and OpenCV: a child of `peers_data.py`.

Runs in a virtual environment of its own (`pip install decord==0.6.0 opencv-python-headless`), without Kinema. Reads
requests from its standard input, a line of JSON each, {"kind", "paths", "frames", "clip_len", "interval", "clips",
"crop", "seed"}, and answers with the seconds of CPU time that a batch took.

Steps: open and index the video; sample frames; decode them, or read the images; resize to a short side of 256; crop
(MultiScaleCrop, or RandomResizedCrop); resize to 224; flip half of the clips; stack and transpose to NCHW or NCTHW.
Pixels stay uint8 to the end, as MMAction2's data preprocessor normalises on the device.
"""

import json
import sys
import time
from pathlib import Path

import cv2
import decord
import numpy as np


def sample(request, length, rng):
    span = request["clip_len"] * request["interval"]
    part = max(length - span + 1, 1) / request["clips"]
    starts = np.arange(request["clips"]) * part + rng.uniform(0, part, request["clips"])
    places = starts.astype(int)[:, None] + np.arange(request["clip_len"]) * request["interval"]
    return places.ravel() % length


def read(request, path, rng):
    if request["kind"] == "rawframes":
        places = sample(request, request["frames"][path], rng) + 1
        images = []
        for place in places:
            with Path(f"{path}/img_{place:05}.jpg").open("rb") as file:
                data = np.frombuffer(file.read(), np.uint8)
            images.append(cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))
        return images
    with Path(path).open("rb") as file:
        video = decord.VideoReader(file, num_threads=1)
    return list(video.get_batch(sample(request, len(video), rng)).asnumpy())


def box(kind, height, width, rng):
    if kind == "multi_scale":
        sides = [int(min(height, width) * scale) for scale in (1, 0.875, 0.75, 0.66)]
        pairs = [(h, w) for i, h in enumerate(sides) for j, w in enumerate(sides) if abs(i - j) <= 1]
        high, wide = pairs[rng.integers(len(pairs))]
        down, right = [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2)][rng.integers(5)]
        return (height - high) // 4 * down, (width - wide) // 4 * right, high, wide
    aspects = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3), 10))
    areas = rng.uniform(0.08, 1.0, 10) * height * width
    highs, wides = np.sqrt(areas / aspects).astype(int), np.sqrt(areas * aspects).astype(int)
    for high, wide in zip(highs, wides, strict=True):
        if high <= height and wide <= width:
            return rng.integers(height - high + 1), rng.integers(width - wide + 1), high, wide
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side


def sample_of(request, path, rng):
    images = read(request, path, rng)
    height, width = images[0].shape[:2]
    scale = 256 / min(height, width)
    size = int(width * scale + 0.5), int(height * scale + 0.5)
    images = [cv2.resize(image, size, interpolation=cv2.INTER_LINEAR) for image in images]
    top, left, high, wide = box(request["crop"], size[1], size[0], rng)
    images = [image[top : top + high, left : left + wide] for image in images]
    images = [cv2.resize(image, (224, 224), interpolation=cv2.INTER_LINEAR) for image in images]
    if rng.random() < 0.5:
        images = [cv2.flip(image, 1) for image in images]
    clip = np.stack(images)
    if request["clip_len"] == 1:
        return np.ascontiguousarray(clip.transpose(0, 3, 1, 2))
    clip = clip.reshape(-1, request["clip_len"], *clip.shape[1:])
    return np.ascontiguousarray(clip.transpose(0, 4, 1, 2, 3))


def main():
    cv2.setNumThreads(0)
    for line in sys.stdin:
        request = json.loads(line)
        rng = np.random.default_rng(request["seed"])
        started = time.process_time()
        np.stack([sample_of(request, path, rng) for path in request["paths"]])
        print(time.process_time() - started, flush=True)


main()
