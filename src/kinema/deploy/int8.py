"""Post-training quantization of ONNX files to 8 bits (Jacob et al., CVPR 2018, arXiv:1712.05877)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from kinema import strict_json
from kinema.console import progress
from kinema.errors import UserError
from kinema.weights.exported import import_onnx, read_metadata

_QUANTIZED = ["Conv", "Gemm", "MatMul"]


class _Samples:
    """Calibration samples as onnxruntime takes them."""

    def __init__(self, names: Sequence[str], samples: Iterator[tuple[Tensor, ...]], count: int) -> None:
        self._names, self._samples = names, samples
        self._progress = progress("calibrating", count)
        self._meter = self._progress.__enter__()

    def get_next(self) -> dict[str, Any] | None:
        """Return the next sample's arrays by name, or None."""
        inputs = next(self._samples, None)
        if inputs is None:
            self._progress.__exit__(None, None, None)
            return None
        self._meter.advance()
        return {name: tensor.contiguous().numpy() for name, tensor in zip(self._names, inputs, strict=True)}


def quantize(file: Path, output: Path, samples: Iterator[tuple[Tensor, ...]], *, count: int) -> None:
    """Quantize weights of each output channel to 7 bits, and activations to 8 by their range over samples.

    Args:
        file: an exported ONNX file.
        output: the quantized file, with the metadata of `file` and `quantization`.
        samples: calibration inputs, at most `count`.
        count: number of samples, for the progress.

    Raises:
        UserError: the network has no convolutions.
    """
    onnx, tools = import_onnx("onnx"), import_onnx("onnxruntime.quantization")
    metadata = read_metadata(file)
    operators = {node.op_type for node in onnx.load_model(file).graph.node}
    if "Conv" not in operators:
        raise UserError(f"{file.name} has no convolutions: --int8 is for convolutional networks")
    prepared = file.with_suffix(".prepared.onnx")
    tools.shape_inference.quant_pre_process(str(file), str(prepared), skip_symbolic_shape=True)
    tools.quantize_static(
        str(prepared),
        str(output),
        _Samples([entry["name"] for entry in metadata["inputs"]], samples, count),
        quant_format=tools.QuantFormat.QDQ,
        per_channel=True,
        # Sums of two products of 8 bits by 8 saturate 16 bits on CPUs without VNNI; of 7 bits by 8 they do not.
        reduce_range=True,
        activation_type=tools.QuantType.QUInt8,
        weight_type=tools.QuantType.QInt8,
        op_types_to_quantize=_QUANTIZED,
    )
    prepared.unlink()
    quantized = onnx.load_model(output)
    texts = {key: strict_json.dumps(value, ensure_ascii=False) for key, value in metadata.items()}
    onnx.helper.set_model_props(quantized, {**texts, "quantization": strict_json.dumps("int8")})
    onnx.save_model(quantized, output)
