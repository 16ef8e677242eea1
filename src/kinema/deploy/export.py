"""Export of trained models."""

import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from kinema.api import run_test
from kinema.console import progress
from kinema.data.lists.inputs import find_inputs
from kinema.deploy.check import Agreement, check_agreement, compare
from kinema.deploy.graph import graph_metadata, save_onnx, save_torch, trace
from kinema.deploy.int8 import quantize
from kinema.deploy.options import ExportOptions
from kinema.errors import UserError
from kinema.tasks.models import load_model
from kinema.training.task import HasExport, HasQuantization
from kinema.weights.exported import ExportedNetwork, Metadata
from kinema.weights.find import find_model
from kinema.weights.model_files import AnyDescription, model_json
from kinema.weights.names import ONNX, TORCH, is_exported

log = logging.getLogger(__name__)

_RANDOM_SAMPLES = (1, 3)
"""Sizes of the random batches that are compared."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """An exported file, and what was measured of it."""

    file: Path
    agreement: Agreement
    script: str
    """A program that runs the file without Kinema."""
    metrics: dict[str, float]
    """Of the model, with --int8."""
    int8_metrics: dict[str, float]
    """Of the quantized file, with --int8."""


def export(model: str | Path, options: ExportOptions) -> Export:
    """Export a model to a file that holds its graph, from pixels or features to scores, and what is needed to use it.

    The file is written only if it computes what the model computes; see `ExportOptions.tolerance`.

    Raises:
        UserError: the model has no export, the graph cannot be written, or it computes something else.
    """
    folder = find_model(model)
    if is_exported(folder):
        raise UserError(f"{folder} is an exported file already: pass the model that it was exported from")
    output = _output(model, options)
    network, description = load_model(folder)
    task = description.task
    if not isinstance(task, HasExport):
        raise UserError(f"{model} is a model of the task {type(task).__name__}, which defines no export")
    calibrated = _calibrated(task, options)
    checked = [video.path for video in find_inputs(options.check)] if options.check else []
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as temporary:
        file = Path(temporary) / output.name
        agreement = _write(network, task, description, file, checked, options)
        metrics, quantized = {}, {}
        if calibrated is not None:
            plain, file = file, file.with_suffix(f".int8{ONNX}")
            samples = calibrated.calibration_inputs(options.int8, description, count=options.int8_samples)
            quantize(plain, file, samples, count=options.int8_samples)
            metrics, quantized = (
                run_test(
                    tested,
                    calibrated.test_data(options.int8_test, description),
                    folder=Path(temporary) / f"test{number}",
                )
                for number, tested in enumerate((folder, file))
            )
        file.replace(output)
    return Export(
        file=output,
        agreement=agreement,
        script=task.export_script(output, description)
        if options.format == "onnx"
        else _TORCH_SCRIPT.format(str(output)),
        metrics=metrics,
        int8_metrics=quantized,
    )


_TORCH_SCRIPT = """\
# Runs the program without Kinema; its metadata say how inputs are made and what the classes are.
import json, torch

extra = {{"kinema.json": ""}}
program = torch.export.load({0!r}, extra_files=extra)
metadata = json.loads(extra["kinema.json"])
shapes = [[1, *entry["shape"][1:]] for entry in metadata["inputs"]]
inputs = [torch.zeros(shape, dtype=getattr(torch, entry["dtype"])) for shape, entry in zip(shapes, metadata["inputs"])]
print(program.module()(*inputs))
"""


def _write(
    network: nn.Module,
    task: HasExport,
    description: AnyDescription,
    file: Path,
    checked: list[str],
    options: ExportOptions,
) -> Agreement:
    """Write the graph to `file`, and check it on the videos `checked`, or on random inputs."""
    torch.manual_seed(0)
    examples = task.export_inputs(description)
    with torch.no_grad():
        outputs = network(*examples.values())
    with progress("exporting", 3) as meter:
        program = trace(network, [*examples.values()], onnx=options.format == "onnx")
        meter.advance(figures="traced")
        metadata: Metadata = {
            "classes": description.classes,
            **graph_metadata(examples, outputs),
            **task.export_metadata(description),
            "model": model_json(description),
        }
        (save_onnx if options.format == "onnx" else save_torch)(program, metadata, file)
        meter.advance(figures="written")
        exported = ExportedNetwork(file)
        meter.advance(figures="loaded")
    with progress("checking", len(checked) or len(_RANDOM_SAMPLES)) as meter:
        agreement = compare(
            network,
            exported,
            (task.read_inputs(path, description) for path in checked) if checked else _random(examples),
            scores=task.export_scores,
            tolerance=options.tolerance,
            meter=meter,
        )
    check_agreement(agreement, tolerance=options.tolerance)
    return agreement


def _random(examples: dict[str, Tensor]) -> Iterator[tuple[Tensor, ...]]:
    """Yield batches of other sizes than the two samples that were traced."""
    for size in _RANDOM_SAMPLES:
        yield tuple(torch.cat([tensor.flip(0), tensor])[:size] for tensor in examples.values())


def _calibrated(task: HasExport, options: ExportOptions) -> HasQuantization | None:
    """Return the task if its network is to be quantized, else None.

    Raises:
        UserError: it cannot be.
    """
    if not options.int8:
        return None
    if options.format != "onnx":
        raise UserError("--int8 is for --format onnx")
    if not isinstance(task, HasQuantization):
        raise UserError("--int8 is for recognizers")
    return task


def _output(model: str | Path, options: ExportOptions) -> Path:
    """Return the output file; by default it is called as the model.

    Raises:
        UserError: its suffix is of another format.
    """
    suffix = ONNX if options.format == "onnx" else TORCH
    if options.output is None:
        name = Path(str(model).rpartition(":")[2]).resolve().name.removesuffix(".safetensors")
        return Path(f"{name}{'.int8' if options.int8 else ''}{suffix}")
    if options.output.suffix != suffix:
        raise UserError(f"--output {options.output}: a file of --format {options.format} ends with {suffix}")
    return options.output
