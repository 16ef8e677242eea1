"""Virtual environments of the peers."""

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
    """Packages of an environment."""

    packages: tuple[str, ...]
    no_deps: tuple[str, ...] = ()
    """Packages that are installed without their dependencies, whose declared versions conflict."""


_TORCH = (
    f"torch=={torch.__version__.partition('+')[0]}",
    f"torchvision=={torchvision.__version__.partition('+')[0]}",
    *("mmengine", "mmcv-lite", "av", "einops", "ftfy", "importlib_metadata", "networkx", "pandas", "parameterized"),
    *("portalocker", "psutil", "regex", "scikit-learn", "scipy", "setuptools", "simplejson", "tabulate"),
    *("tensorboard", "tqdm", "wheel", "yacs"),
)

ENVIRONMENTS: dict[str, Environment] = {
    "torch": Environment(
        packages=_TORCH, no_deps=("mmaction2==1.2.0", "fvcore", "iopath", "pytorchvideo==0.1.5", "decord")
    ),
    "tensorflow": Environment(packages=("tensorflow-cpu", "tf_keras")),
}
"""MMAction2, pytorchvideo, torchvision, PySlowFast, the Temporal-Shift-Module and JJBOY's BMN share the first."""


def set_up(folder: Path, name: str) -> None:
    """Create or complete the environment `folder/name`.

    Raises:
        UserError: A package cannot be installed; pip's messages say why.
    """
    environment = ENVIRONMENTS[name]
    python = python_of(folder, name)
    commands = [[str(python), "-m", "pip", "install", *environment.packages]]
    if environment.no_deps:
        commands.append(
            [str(python), "-m", "pip", "install", "--no-deps", "--no-build-isolation", *environment.no_deps]
        )
    if not python.exists():
        commands.insert(0, [sys.executable, "-m", "venv", str(folder / name)])
    for command in commands:
        log.info("%s", " ".join(command))
        if subprocess.run(command, stdout=sys.stderr, check=False).returncode:
            raise UserError(
                f"the environment {folder / name} is incomplete: {' '.join(command)} failed, see its messages"
            )


def python_of(folder: Path, name: str) -> Path:
    """Python interpreter of an environment."""
    return folder / name / "bin" / "python"
