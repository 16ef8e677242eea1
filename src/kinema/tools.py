"""Other tools whose checkpoints Kinema reads."""

from typing import Literal

Source = Literal[
    "mmaction2", "pyslowfast", "tsm", "torchvision", "timm", "pytorchvideo", "transformers", "videomae", "timesformer",
    "vjepa2", "actionformer", "tridet", "opentad",
]  # fmt: skip
