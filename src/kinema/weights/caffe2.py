"""Reading of Caffe2's pickles of weights, as PySlowFast's model zoo has them, without executing anything in them."""

import pickle
import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kinema.errors import UserError


def _encoded(text: str, encoding: str) -> bytes:
    """Return the bytes of an array, which protocol 2 has as text."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding}")
    return text.encode("latin-1")


_ALLOWED: dict[str, Any] = {
    **{f"numpy.{core}.multiarray._reconstruct": np.empty(0).__reduce__()[0] for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": np.float32(0).__reduce__()[0] for core in ("core", "_core")},
    "numpy.ndarray": np.ndarray,
    "numpy.dtype": np.dtype,
    "collections.OrderedDict": OrderedDict,
    "_codecs.encode": _encoded,
}
"""All that a pickle may ask for: the parts of NumPy's arrays."""

_LEAVES = {"w": "weight", "b": "bias", "s": "weight", "rm": "running_mean", "riv": "running_var"}
_NO_WEIGHT = re.compile(r"_momentum$|^(lr|model_iter)$")
"""State of the optimizer."""

_STEM = re.compile(r"(t_)?(res_)?conv1_(bn_)?(\w+)")
_BLOCK = re.compile(r"(t_)?res(\d)_(\d+)_branch(\d)([a-c]?)_(bn_)?(\w+)")
_LATERAL = re.compile(r"t_(?:pool1|res(\d)_\d+_branch2c_bn)_subsample_(bn_)?(\w+)")
_NON_LOCAL = re.compile(r"nonlocal_conv(\d)_(\d+)_(theta|phi|g|out|bn)_(\w+)")
_HEAD = re.compile(r"pred_(\w+)")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return what the pickle asks for, if it is allowed."""
        if f"{module}.{name}" not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _ALLOWED[f"{module}.{name}"]


def read_caffe2(path: Path) -> dict[str, Tensor]:
    """Return the weights of a pickle `{"blobs": {name: array}}` under PySlowFast's names.

    Raises:
        UserError: the file is damaged, asks for anything but arrays, or has blobs of another network.
    """
    try:
        with path.open("rb") as file:
            content = _Unpickler(file, encoding="latin1").load()
    except Exception as error:  # damaged bytes may raise anything in the unpickler
        raise UserError(
            f"{path} is a pickle of Caffe2's that is refused, and nothing in it was run: {error}"
        ) from error
    blobs = content.get("blobs") if isinstance(content, Mapping) else None
    if not isinstance(blobs, Mapping) or not all(_is_array(blob) for blob in blobs.values()):
        raise UserError(f"{path} is a pickle of Caffe2's without arrays under 'blobs'")
    names = {name: _name(name) for name in map(str, blobs) if not _NO_WEIGHT.search(name)}
    if unknown := [name for name, ours in names.items() if not ours]:
        raise UserError(
            f"{path} is a pickle of Caffe2's with {len(unknown)} blobs that PySlowFast's ResNets have not "
            f"({', '.join(unknown[:3])}{', …' if len(unknown) > 3 else ''})"
        )
    return {ours: _tensor(ours, blobs[name]) for name, ours in names.items()}


def _is_array(blob: object) -> bool:
    return isinstance(blob, np.ndarray | np.generic) and np.asarray(blob).dtype.kind in "fiu"


def _tensor(name: str, blob: Any) -> Tensor:
    """Return a blob, with the dimensions of length 1 that the weights of PySlowFast's convolutions have."""
    value = torch.from_numpy(np.array(blob, dtype=np.float32))
    if name.endswith(".weight") and value.dim() > 1 and not name.startswith("head."):
        return value.reshape(*value.shape, *[1] * (5 - value.dim()))
    return value


def _name(blob: str) -> str:
    """Return PySlowFast's name of a blob; empty if it has none."""
    if lateral := _LATERAL.fullmatch(blob):
        stage, norm, leaf = lateral.groups()
        module = f"s{stage or 1}_fuse.{'bn' if norm else 'conv_f2s'}"
    elif stem := _STEM.fullmatch(blob):
        fast, _, norm, leaf = stem.groups()
        module = f"s1.pathway{int(bool(fast))}_stem.{'bn' if norm else 'conv'}"
    elif block := _BLOCK.fullmatch(blob):
        fast, stage, number, branch, layer, norm, leaf = block.groups()
        layer = f".{layer}" if layer else ""
        module = f"s{stage}.pathway{int(bool(fast))}_res{number}.branch{branch}{layer}{'_bn' if norm else ''}"
    elif non_local := _NON_LOCAL.fullmatch(blob):
        stage, number, part, leaf = non_local.groups()
        module = f"s{stage}.pathway0_nonlocal{number}.{'bn' if part == 'bn' else f'conv_{part}'}"
    elif head := _HEAD.fullmatch(blob):
        leaf, module = head[1], "head.projection"
    else:
        return ""
    return f"{module}.{_LEAVES[leaf]}" if leaf in _LEAVES else ""
