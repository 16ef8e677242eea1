"""Data that old models were trained on, as far as no command of Kinema's draws them."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_multi_label_list(file: Path, videos: Path) -> None:
    """List class folders of videos, each with its own class and the next one."""
    classes = sorted(folder.name for folder in videos.iterdir())
    rows = [
        f"{videos / name / video.name},{name};{classes[(number + 1) % len(classes)]}"
        for number, name in enumerate(classes)
        for video in sorted((videos / name).iterdir())
    ]
    file.write_text("\n".join(["path,labels", *rows]) + "\n")


def write_flow_lists(root: Path) -> None:
    """Write eight videos' optical flow of two classes, constant over each image, and a list of them."""
    for number in range(8):
        folder = root / f"v{number}"
        folder.mkdir(parents=True)
        for field in range(20):
            for axis, value in (("x", 128 + 40 * (number % 2)), ("y", 100 + 2 * field)):
                Image.fromarray(np.full((36, 44), value, np.uint8)).save(folder / f"flow_{axis}_{field + 1:05}.jpg")
    (root / "list.txt").write_text("".join(f"v{number} 20 {number % 2}\n" for number in range(8)))
