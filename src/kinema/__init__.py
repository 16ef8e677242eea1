"""Kinema: train, evaluate and run video-understanding models.

import kinema

model = kinema.load("runs/my_run")
model.predict("clip.mp4")

config = kinema.config_of("tsm_r18_video_1x1x8_small_rgb", {"data.train": "videos/train", "data.val": "videos/val"})
kinema.train(config, work_dir="runs/my_run")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kinema.errors import MediaError, UserError
from kinema.version import __version__

if TYPE_CHECKING:
    from kinema.api import load, train
    from kinema.models.foreign import load_foreign_state_dict
    from kinema.recipes import build_model, config_of

__all__ = [
    "MediaError",
    "UserError",
    "__version__",
    "build_model",
    "config_of",
    "load",
    "load_foreign_state_dict",
    "train",
]

_HOMES = {
    "build_model": "kinema.recipes",
    "config_of": "kinema.recipes",
    "load": "kinema.api",
    "load_foreign_state_dict": "kinema.models.foreign",
    "train": "kinema.api",
}


def __getattr__(name: str) -> Any:
    """Import the verbs when they are first used: `import kinema` and `kinema --help` do without torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'kinema' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
