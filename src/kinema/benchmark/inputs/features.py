"""Random features and candidates to measure the training of localizers on."""

from pathlib import Path

import numpy as np

from kinema import strict_json
from kinema.data.features.spans import whole_video
from kinema.tasks.localization.bsn.candidate_files import Described, Origin, write_described, write_origin
from kinema.tasks.localization.bsn.data import ProposalData
from kinema.tasks.localization.bsn.pgm import CandidateOptions
from kinema.training.config import AnyConfig

_TRUTH = "ground_truth.json"
_SECONDS = 120.0
_INSTANCES = 2  # per video; ActivityNet has 1.5


def sample_options(folder: Path, config: AnyConfig) -> dict[str, object]:
    """Options that select the data written by `write_sample`."""
    kind = "features" if config.task.name != "pem" else "proposals"
    return {
        "data.ground_truth": str(folder / _TRUTH),
        "data.val_subset": "",
        f"data.{kind}": str(folder / kind),
    }


def write_sample(folder: Path, config: AnyConfig, *, videos: int) -> None:
    """Write ground truth with random instances of `videos` videos, and random features or candidates."""
    random = np.random.default_rng(0)
    names = [f"v_{number:05}" for number in range(videos)]
    database = {
        name: {
            "duration": _SECONDS,
            "subset": config.data.train_subset,
            "annotations": [
                {"label": "action", "segment": segment}
                for segment in np.sort(random.uniform(0, _SECONDS, (_INSTANCES, 2)), axis=1).tolist()
            ],
        }
        for name in names
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _TRUTH).write_text(strict_json.dumps({"database": database}))
    channels = config.model.feature_channels
    if config.task.name == "pem":
        _write_candidates(folder / "proposals", names, config.data, channels, config.task.candidates, random)
    else:
        _write_features(folder / "features", names, (config.data.parts, channels), random)


def _write_features(folder: Path, names: list[str], shape: tuple[int, int], random: np.random.Generator) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        np.save(folder / f"{name}.npy", random.standard_normal(shape, np.float32))


def _write_candidates(
    folder: Path,
    names: list[str],
    data: ProposalData,
    channels: int,
    options: CandidateOptions,
    random: np.random.Generator,
) -> None:
    folder.mkdir(exist_ok=True)
    count = data.train_candidates
    for name in names:
        described = Described(
            segments=np.sort(random.uniform(size=(count, 2)), axis=1),
            starts=random.uniform(size=count),
            ends=random.uniform(size=count),
            features=random.random((count, channels), np.float32),
            overlaps=random.random(count, np.float32),
            span=whole_video(_SECONDS),
        )
        write_described(folder, name, described)
    write_origin(folder, Origin(tem="", options=options))
