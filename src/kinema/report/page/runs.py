"""What a run's folder tells: config, curves, machine, results of its test."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinema.config import read
from kinema.errors import UserError
from kinema.training.saving.record import read_rows
from kinema.weights.find import last_stage

MACHINE = "machine.json"


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """Contents of a run's folder.

    name: Unique among the runs of a report. config: Dotted keys, as in `config.yaml`. machine: Contents of
    `machine.json`; empty for runs of earlier versions. test: Folder of the results of `kinema test` on the run's own
    data, of a pipeline's last stage also that of the pipeline. metrics: Those of its test; empty if there was none.
    """

    path: Path
    test: Path
    name: str
    recipe: str
    config: Mapping[str, object]
    training: Sequence[Mapping[str, float]]
    validation: Sequence[Mapping[str, float]]
    machine: Mapping[str, Any]
    metrics: Mapping[str, float]
    bad_files: int


def read_runs(paths: Sequence[Path]) -> list[RunFolder]:
    """Read the folders of runs; those of pipelines and cross-validations are replaced by the runs in them.

    The stage that holds a pipeline's model is the last one.

    Raises:
        UserError: one holds no run, or a file in it is damaged.
    """
    folders = [folder for path in paths for folder in _runs_in(path)]
    names = _names([folder.resolve() for folder in folders])
    return [_read(folder, name) for folder, name in zip(folders, names, strict=True)]


def differences(runs: Sequence[RunFolder]) -> list[tuple[str, list[str]]]:
    """Return the options in which runs differ, as (dotted key, text of each run's value); "–" where it has none."""
    keys = dict.fromkeys(key for run in runs for key in run.config)
    rows = [("recipe", [run.recipe for run in runs])]
    rows += [(key, [_text(run.config.get(key)) for run in runs]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def _runs_in(path: Path) -> list[Path]:
    if (path / "metrics.jsonl").is_file():
        return [path]
    inside = sorted(child.parent for child in path.glob("*/metrics.jsonl"))
    inside.sort(key=lambda run: run == last_stage(path))
    if not inside:
        fault = "holds no run" if path.exists() else "does not exist"
        raise UserError(f"{path} {fault}: expected the --work-dir of a `kinema train`, which has a metrics.jsonl")
    return inside


def _read(folder: Path, name: str) -> RunFolder:
    config_file, bad = folder / "config.yaml", folder / "bad_files.csv"
    recipe, config = read(config_file) if config_file.exists() else ("", {})
    test = _test_of(folder)
    return RunFolder(
        path=folder,
        test=test,
        name=name,
        recipe=recipe,
        config=config,
        training=read_rows(folder / "metrics.jsonl", "train"),
        validation=read_rows(folder / "metrics.jsonl", "val"),
        machine=_json(folder / MACHINE),
        metrics=_json(test / "metrics.json"),
        bad_files=max(0, len(bad.read_text(encoding="utf-8", errors="replace").splitlines()) - 1)
        if bad.exists()
        else 0,
    )


def _test_of(folder: Path) -> Path:
    own, whole = folder / "test", folder.parent / "test"
    return whole if not own.exists() and last_stage(folder.parent) == folder else own


def _json(file: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} is damaged: expected an object")
    return content


def _names(folders: Sequence[Path]) -> list[str]:
    """Return the last parts of paths, as many as make them unique."""
    for parts in range(1, max(len(folder.parts) for folder in folders) + 1):
        names = ["/".join(folder.parts[-parts:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    raise UserError(f"{folders[0]} is given twice")


def _text(value: object) -> str:
    if value is None:
        return "–"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
