"""Options of an export."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from annotated_types import Ge, Gt


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Options of an export."""

    format: Literal["onnx", "torch"] = "onnx"
    """onnx: for onnxruntime, OpenVINO or TensorRT; torch: a program of torch.export (.pt2), which AOTInductor can
    compile."""
    output: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Output file, .onnx or .pt2; default: the name of MODEL in the current folder."""
    check: Annotated[tuple[str, ...], tyro.conf.arg(metavar="VIDEO")] = ()
    """Videos, or folders of them, whose scores by the file and by the model are compared; of a localizer .npy files of
    features. When not given, random inputs are compared."""
    tolerance: Annotated[float, Gt(0)] = 1e-4
    """Largest absolute difference of a score that is accepted; with --int8 accuracy is reported instead."""
    int8: Annotated[str, tyro.conf.arg(metavar="DATA")] = ""
    """Quantize to 8 bits: labeled videos, as --data.train takes them, some of which say the range of every layer's
    values. For convolutional recognizers in ONNX."""
    int8_samples: Annotated[int, Ge(1)] = 64
    """Videos of --int8 that are read."""
    int8_test: Annotated[str, tyro.conf.arg(metavar="DATA")] = ""
    """Labeled videos to measure the loss of accuracy on; default: the model's own validation videos."""
