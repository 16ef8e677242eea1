"""Graphs of networks, and the files that hold them."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.utils import _pytree

from kinema import strict_json
from kinema.errors import UserError
from kinema.models.acceleration import only_plain_operators
from kinema.weights.exported import METADATA, Metadata, import_onnx

_LARGEST_BATCH = 1024
_LARGEST_ONNX = 1 << 31
"""Bytes of a protobuf message."""


def trace(network: nn.Module, inputs: Sequence[Tensor], *, onnx: bool) -> ExportedProgram:
    """Return the graph of a network in eval mode, whose inputs may be batches of any size.

    Args:
        network: the network.
        inputs: a batch of two of each input.
        onnx: whether to avoid operators that ONNX lacks.

    Raises:
        UserError: the network's Python code cannot be expressed as a graph.
    """
    batch = Dim("batch", min=1, max=_LARGEST_BATCH)
    shapes = tuple({0: batch} for _ in inputs)
    try:
        with torch.no_grad(), only_plain_operators() if onnx else nullcontext(), _quiet():
            return torch.export.export(network, tuple(inputs), dynamic_shapes=shapes)
    except Exception as error:  # torch.export raises many kinds, for the code of the network
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{type(network).__name__} cannot be exported: torch.export says: {reason}") from error


def graph_metadata(inputs: Mapping[str, Tensor], output: Any) -> Metadata:
    """Return names, dtypes and shapes of inputs and outputs.

    Args:
        inputs: a batch of each input.
        output: what the network returns for them.
    """
    paths, structure = _pytree.tree_flatten_with_path(output)
    return {
        "inputs": [
            {"name": name, "dtype": str(tensor.dtype).removeprefix("torch."), "shape": [None, *tensor.shape[1:]]}
            for name, tensor in inputs.items()
        ],
        "outputs": [_name(path) for path, _ in paths],
        "structure": _pytree.treespec_dumps(structure),
    }


def _name(path: Sequence[Any]) -> str:
    """Return the name of an output: its field, and number where there are several."""
    if not path:
        return "output"
    fields = [key.name for key in path if isinstance(key, _pytree.GetAttrKey)]
    numbers = [str(key.idx) for key in path if isinstance(key, _pytree.SequenceKey)]
    return "_".join([*fields, *numbers])


def save_torch(program: ExportedProgram, metadata: Metadata, file: Path) -> None:
    """Write a program with its metadata, an extra file of it."""
    with _quiet():
        torch.export.save(program, file, extra_files={METADATA: strict_json.dumps(metadata, ensure_ascii=False)})


def save_onnx(program: ExportedProgram, metadata: Metadata, file: Path) -> None:
    """Write an ONNX file with its metadata.

    Raises:
        UserError: an operator has no equivalent in ONNX, or the weights are too large for one file.
    """
    import_onnx("onnxscript")
    size = sum(tensor.numel() * tensor.element_size() for tensor in program.state_dict.values())
    if size >= _LARGEST_ONNX:
        raise UserError(
            f"the weights take {size / 2**30:.1f} GiB, and an ONNX file holds at most 2: pass --format torch"
        )
    names = {"input_names": [entry["name"] for entry in metadata["inputs"]], "output_names": metadata["outputs"]}
    try:
        with _quiet():
            converted = torch.onnx.export(program, dynamo=True, verbose=False, external_data=False, **names)
    except torch.onnx.errors.OnnxExporterError as error:
        raise UserError(f"the graph cannot be converted to ONNX: {str(error).strip().partition(chr(10))[0]}") from error
    assert converted is not None
    for key, value in metadata.items():
        converted.model.metadata_props[key] = strict_json.dumps(value, ensure_ascii=False)
    with _quiet():
        converted.save(str(file), external_data=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what torch and onnxscript say to their developers."""
    loggers = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir", "torch.onnx", "torch.export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
