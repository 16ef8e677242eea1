"""Virtual environments of the peers, kept apart from Kinema's."""

import logging
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision

from kinema.errors import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What is installed."""

    packages: tuple[str, ...]
    alone: tuple[str, ...] = ()
    """Packages whose dependencies, as they state them, do not fit together: installed without."""


_TORCH = (
    f"torch=={torch.__version__.partition('+')[0]}",
    f"torchvision=={torchvision.__version__.partition('+')[0]}",
    *("mmengine", "mmcv-lite", "av", "einops", "ftfy", "importlib_metadata", "networkx", "pandas", "parameterized"),
    *("portalocker", "psutil", "regex", "scikit-learn", "scipy", "setuptools", "simplejson", "tabulate"),
    *("tensorboard", "tqdm", "wheel", "yacs"),
)

ENVIRONMENTS: dict[str, Environment] = {
    "torch": Environment(
        packages=_TORCH, alone=("mmaction2==1.2.0", "fvcore", "iopath", "pytorchvideo==0.1.5", "decord")
    ),
    "tensorflow": Environment(packages=("tensorflow-cpu", "tf_keras")),
}
"""MMAction2, pytorchvideo, torchvision, PySlowFast, the Temporal-Shift-Module and JJBOY's BMN share the first."""


def set_up(folder: Path, name: str) -> None:
    """Make the environment in `folder/name`, or complete it.

    Raises:
        UserError: a package cannot be installed; pip has said why.
    """
    place, wanted = folder / name, ENVIRONMENTS[name]
    python = python_of(folder, name)
    commands = [[str(python), "-m", "pip", "install", *wanted.packages]]
    if wanted.alone:
        commands.append([str(python), "-m", "pip", "install", "--no-deps", "--no-build-isolation", *wanted.alone])
    if not python.exists():
        commands.insert(0, [sys.executable, "-m", "venv", str(place)])
    for command in commands:
        log.info("%s", " ".join(command))
        if subprocess.run(command, stdout=sys.stderr, check=False).returncode:
            raise UserError(f"{' '.join(command)} failed, and has said why: the environment {place} is not complete")


def python_of(folder: Path, name: str) -> Path:
    """The environment's Python."""
    return folder / name / "bin" / "python"
