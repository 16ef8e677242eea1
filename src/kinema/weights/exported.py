"""Exported networks: ONNX files and programs of `torch.export`, with metadata that says how they are used."""

import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree

from kinema.errors import MissingPackage, UserError
from kinema.weights.names import ONNX

METADATA = "kinema.json"
"""Extra file of a program that holds its metadata; of ONNX these are `metadata_props`, whose values are JSON."""

Metadata = dict[str, Any]


def read_metadata(file: Path) -> Metadata:
    """Return the metadata of an exported file.

    Returns:
        `inputs`: name, dtype and shape of each input, None for the batch; `outputs`: their names; `structure` of the
        outputs; `classes`; `model`: contents of the model's `model.json`; what a task adds, such as `preprocessing`.

    Raises:
        UserError: the file cannot be read, or `kinema export` did not write it.
    """
    try:
        metadata = _onnx_metadata(file) if file.suffix.lower() == ONNX else _program_metadata(file)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{file} was not written by kinema export, or is damaged: {error}") from error
    if lacking := {"inputs", "outputs", "structure", "model"} - metadata.keys():
        raise UserError(f"{file} was not written by kinema export: its metadata lack {', '.join(sorted(lacking))}")
    return metadata


def _onnx_metadata(file: Path) -> Metadata:
    with file.open("rb"):  # says that a file is missing in the system's words
        pass
    onnx = import_onnx("onnx")
    try:
        model = onnx.load_model(file, load_external_data=False)
    except Exception as error:  # protobuf's own, which its implementations name differently
        raise ValueError(str(error)) from error
    return {entry.key: json.loads(entry.value) for entry in model.metadata_props}


def _program_metadata(file: Path) -> Metadata:
    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if name.endswith(f"extra/{METADATA}")]
        if not names:
            raise ValueError(f"it holds no {METADATA}")
        metadata: Metadata = json.loads(archive.read(names[0]))
    return metadata


def import_onnx(package: str) -> Any:
    """Import `onnx` or `onnxruntime`, or a module of them.

    Raises:
        MissingPackage: it is not installed.
    """
    from importlib import import_module

    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        raise MissingPackage(f"ONNX files need {error.name}: pip install 'kinema[export]'") from error


class ExportedNetwork(nn.Module):
    """The network of an exported file: takes and returns tensors as the original does, in inference only.

    It is computed on the CPU, by onnxruntime or torch; outputs are on the device of the first input.

    Raises:
        UserError: the file cannot be read, or onnxruntime is not installed.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        metadata = read_metadata(file)
        self.file, self.inputs = file, metadata["inputs"]
        self._structure = _pytree.treespec_loads(metadata["structure"])
        self._compute = (_onnx_session if file.suffix.lower() == ONNX else _torch_program)(file)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the inputs without the batch; see `kinema.models.capabilities.HasFixedShapes`."""
        return [tuple(entry["shape"][1:]) for entry in self.inputs]

    def forward(self, *inputs: Tensor) -> Any:
        """Return what the original network returns for inputs of the exported shapes.

        Raises:
            UserError: inputs have another shape or dtype.
        """
        for declared, given in zip(self.inputs, inputs, strict=True):
            self._check(declared, given)
        outputs = self._compute([tensor.cpu() for tensor in inputs])
        return _pytree.tree_unflatten([tensor.to(inputs[0].device) for tensor in outputs], self._structure)

    def _check(self, declared: dict[str, Any], given: Tensor) -> None:
        shape = declared["shape"]
        fits = len(shape) == given.dim() and all(
            size in (None, actual) for size, actual in zip(shape, given.shape, strict=True)
        )
        if not fits or str(given.dtype) != f"torch.{declared['dtype']}":
            expected = ", ".join("N" if size is None else str(size) for size in shape)
            raise UserError(
                f"{self.file} takes {declared['name']} ({expected}) {declared['dtype']}, found "
                f"({', '.join(map(str, given.shape))}) {str(given.dtype).removeprefix('torch.')}: export the model for "
                "other sizes, or use the model itself"
            )


Compute = Callable[[Sequence[Tensor]], list[Tensor]]


def _onnx_session(file: Path) -> Compute:
    runtime = import_onnx("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        session = runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # classes of onnxruntime's compiled module
        raise UserError(f"{file} cannot be loaded by onnxruntime: {error}") from error
    names = [entry.name for entry in session.get_inputs()]

    def compute(inputs: Sequence[Tensor]) -> list[Tensor]:
        arrays = [np.ascontiguousarray(tensor.numpy()) for tensor in inputs]
        return [torch.from_numpy(tensor) for tensor in session.run(None, dict(zip(names, arrays, strict=True)))]

    return compute


def _torch_program(file: Path) -> Compute:
    try:
        program = torch.export.load(file)
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        raise UserError(f"{file} cannot be loaded by torch {torch.__version__}: {error}") from error
    network = program.module()

    def compute(inputs: Sequence[Tensor]) -> list[Tensor]:
        with torch.no_grad():
            return list(_pytree.tree_leaves(network(*inputs)))

    return compute
