"""Reading of other tools' checkpoint files, without executing code that they may contain."""

import json
import logging
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from kinema import strict_json
from kinema.errors import UserError
from kinema.tools import Source
from kinema.weights.caffe2 import read_caffe2

log = logging.getLogger(__name__)

_WRAPPERS = (
    "state_dict", "model_state", "model", "model_state_dict", "net", "module",
    "model_ema", "ema_state_dict", "state_dict_ema", "ema", "target_encoder", "encoder", "classifiers",
)  # fmt: skip
"""Keys under which tools and training scripts save the state dict; averaged weights come last."""

_PREFIXES = ("module.", "model.", "net.")
"""Prefixes that parallel models, Lightning's modules and averaged models add to all keys."""

_WRAPPING_MODULES = re.compile(r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""Wrappers that torch inserts around modules that are compiled, sharded or checkpointed."""

_WHERE = f"by itself or under {', '.join(_WRAPPERS[:5])}"

_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "is compressed with gzip: unpack it first (gunzip, or tar xf)"),
    (b"BZh", "is compressed with bzip2: unpack it first"),
    (b"\xfd7zXZ\x00", "is compressed with xz: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "is compressed with Zstandard: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive: unpack it first"),
    (b"Rar!", "is a RAR archive: unpack it first"),
    (b"\x89HDF", "is an HDF5 file, as Keras writes them: only PyTorch's weights can be converted"),
    (b"version https://git-lfs", "is a pointer of Git LFS, not the file itself: fetch that with `git lfs pull`"),
)


_NAMES: dict[Source, tuple[str, ...]] = {
    "actionformer": (
        r"backbone\.(embd(_norm)?|(stem|branch)\.\d+\.(ln\d|attn|mlp|drop_path_\w+))\.",
        r"(cls_head|reg_head)\.(head|norm|cls_head|offset_head|scale)\.|neck\.fpn_norms\.",
    ),
    "tridet": (
        r"backbone\.(embd(_norm)?|(stem|branch)\.\d+\.(ln|gn|fc|global_fc|psi|convk?w|mlp|drop_path_\w+))\.",
        r"(cls_head|reg_head|start_head|end_head)\.(head|norm|cls_head|offset_head|scale)\.|neck\.fpn_norms\.",
    ),
    "mmaction2": (
        r"(backbone|cls_head|slow_path|fast_path)\.",
        r"x_[123]d_[besp]\.",
        r"(conv1|layer\d\.\d+\.conv\d)\.(conv|bn)\.",
        r"(conv[123]|fc[12])\.(weight|bias)$|(sample|bm)_mask$",
    ),
    "tsm": (r"base_model\.", r"new_fc\."),
    "torchvision": (
        r"(conv1|fc)\.(weight|bias)$",
        r"(bn1|stem\.\d)\.",
        r"layer\d\.\d+\.(conv\d\.(\d|weight)|bn\d|downsample\.\d)",
        r"blocks\.\d+\.(norm\d|project|mlp\.\d|attn\.(qkv|project\.\d|(pool|norm_pool|norm)_[qkv]|rel_pos_[hwt]))\b",
        r"(conv_proj|pos_encoding|patch_embed\.(proj|norm)|norm|head(\.\d)?|classifier(\.\d)?)\.",
        r"(features|trunk_output|layers|heads|stage\d|conv5)\.",
        r"(class_token$|encoder\.(pos_embedding|layers|ln)\b)",
    ),
    "pytorchvideo": (r"blocks\.\d+\.(conv|norm|multipathway\w*|res_blocks|proj|pool|output_pool)\.",),
    "transformers": (
        r"(videomae|timesformer|vjepa2)\.",
        r"encoder\.(layer|embeddings)\.",
        r"(classifier|fc_norm)\.",
        r"pooler\.(query_tokens|self_attention_layers|cross_attention_layer)\b",
    ),
    "videomae": (
        r"(encoder\.)?(patch_embed|norm|blocks\.\d+\.(norm\d|mlp\.fc\d|attn\.(proj|q_bias|v_bias|qkv\.weight|scale)))\b",
        r"(fc_norm|head)\.",
    ),
    "vjepa2": (
        r"(module\.)?(backbone\.)?(patch_embed|norm|blocks\.\d+\.(norm\d|attn\.(qkv|proj)|mlp\.fc\d))\.",
        r"(module\.)?(pooler\.(query_tokens|blocks|cross_attention_block)|linear)\b",
    ),
    "timesformer": (
        r"(cls_token|pos_embed|time_embed)$",
        r"(patch_embed|norm|head)\.",
        r"blocks\.\d+\.((temporal_)?(norm\d|attn\.(qkv|proj))|temporal_fc|mlp\.fc\d)\.",
    ),
    "pyslowfast": (
        r"s\d\.pathway\d",
        r"s\d_fuse\.",
        r"head\.(projection|conv_5|lin_5)(_bn)?\.",
        r"cls_token$|(patch_embed\.proj|norm)\.",
        r"blocks\.\d+\.(norm\d|proj|mlp\.fc\d|attn\.(qkv|proj|(pool|norm)_[qkv]|rel_pos_[hwt]))\b",
    ),
    "opentad": (r"projection\.(embed|stem|branch)\.", r"rpn_head\.", r"neck\.fpn_norms\."),
}
"""Patterns that the keys of each tool's weights begin with. Of tools that may have as many keys, the first is meant."""


class _Discarded:
    """Stand-in for objects in a pickle that are not needed; all arguments and state are discarded."""

    def __init__(self, *parts: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, item: object) -> None:
        """Discard `item`."""

    def extend(self, items: object) -> None:
        """Discard `items`."""


_DISCARDED = (
    "mmengine.logging.history_buffer.HistoryBuffer",
    "mmengine.config.config.ConfigDict",
    "mmcv.utils.config.ConfigDict",
    "builtins.getattr",  # in the pickle of a HistoryBuffer, for its methods
    "numpy.dtype",
    "numpy.ndarray",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    "argparse.Namespace",
    "yacs.config.CfgNode",
    "fvcore.common.config.CfgNode",
    "easydict.EasyDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
    *(f"pathlib.{name}" for name in ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")),
    *(f"datetime.{name}" for name in ("date", "datetime", "timedelta")),
)
"""Types of objects in checkpoints beside tensors: training options, recorded losses and scores, paths, dates."""

_ZIP = b"PK\x03\x04"
_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""First bytes of files of torch.save before PyTorch 1.6, which are no ZIP archives."""


@dataclass(frozen=True, kw_only=True)
class ForeignCheckpoint:
    """State dict of a checkpoint file, and the tool's configuration in it."""

    weights: dict[str, Tensor]
    config: str = ""
    """Text of the configuration: YAML of PySlowFast, Python of MMAction2, JSON of transformers; empty if there is
    none."""


def read_foreign_weights(path: Path) -> dict[str, Tensor]:
    """Return the state dict of a checkpoint file; see `read_foreign_checkpoint`."""
    return read_foreign_checkpoint(path).weights


def read_foreign_checkpoint(path: Path, *, averaged: bool = False) -> ForeignCheckpoint:
    """Read the state dict of a checkpoint file, without prefixes that all keys share; the averaged one if `averaged`.

    Pickles are read with `weights_only=True`, which refuses all types but tensors and plain containers; the types of
    `_DISCARDED` are replaced by inert stand-ins.

    Raises:
        UserError: there is no such file, it is damaged, refused, or has no state dict.
    """
    if not path.is_file():
        raise UserError(f"{path} {'is a folder' if path.is_dir() else 'does not exist'}; expected a checkpoint file")
    content = _load(path)
    config = _config(content)
    while isinstance(content, Mapping) and (inner := _wrapped(content, path, averaged)) is not None:
        content = inner
        config = config or _config(content)
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds a {type(content).__name__}; expected a state dict, {_WHERE}")
    if not content:
        raise UserError(f"{path} holds nothing; expected a state dict, {_WHERE}")
    others = [str(key) for key, value in content.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if others:
        raise UserError(
            f"{path} holds no state dict: of {len(content)} entries {len(others)} are not tensors "
            f"({', '.join(others[:5])}{', …' if len(others) > 5 else ''}); expected names and tensors, {_WHERE}"
        )
    weights = _renamed({key: value.detach() for key, value in content.items()})
    return ForeignCheckpoint(weights=weights, config=config or _config_beside(path))


def tools_of(state_dict: Mapping[str, Tensor]) -> dict[Source, str]:
    """Return the tools whose keys these may be, each with an example, the likeliest first."""
    examples: dict[Source, list[str]] = {}
    for tool, patterns in _NAMES.items():
        alike = [key for key in state_dict if any(re.match(pattern, key) for pattern in patterns)]
        if alike:
            examples[tool] = alike
    return {tool: examples[tool][0] for tool in sorted(examples, key=lambda tool: -len(examples[tool]))}


def _wrapped(content: Mapping[object, object], path: Path, averaged: bool) -> Mapping[object, object] | None:
    """Return what the first of `_WRAPPERS` holds, and say which other weights there are beside it.

    Raises:
        UserError: it holds several models.
    """
    wrappers = ("state_dict_ema", *_WRAPPERS) if averaged else _WRAPPERS
    key = next((key for key in wrappers if isinstance(content.get(key), Mapping | list)), None)
    inner = content.get(key)
    if isinstance(inner, list):
        if len(inner) != 1:
            raise UserError(
                f"{path} holds {len(inner)} models under {key}: save the one to convert alone, "
                f"torch.save(torch.load(FILE)['{key}'][0], FILE)"
            )
        inner = inner[0]
    if others := [str(other) for other, value in content.items() if other != key and _has_tensors(value)]:
        log.warning("%s: of the weights, those under %s are taken; left out: %s", path, key, ", ".join(others))
    return inner if isinstance(inner, Mapping) else None


def _has_tensors(value: object) -> bool:
    return isinstance(value, Mapping) and any(isinstance(each, Tensor) for each in value.values())


def _config(content: object) -> str:
    """Return the text of the configuration: `cfg` of PySlowFast, `meta.cfg` or `meta.config` of MMAction2."""
    if not isinstance(content, Mapping):
        return ""
    meta = content.get("meta")
    found = [content.get("cfg"), *((meta.get("cfg"), meta.get("config")) if isinstance(meta, Mapping) else ())]
    return next((text for text in found if isinstance(text, str)), "")


def _config_beside(path: Path) -> str:
    """Return the `config.json` of transformers beside a file of weights, joined with that of its preprocessor."""
    contents = {}
    for name in ("config.json", "preprocessor_config.json", "video_preprocessor_config.json"):
        try:
            content = json.loads((path.parent / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(content, dict):
            contents[name.removesuffix("config.json")] = content
    config = contents.pop("", {})
    if "model_type" not in config:
        return ""
    return strict_json.dumps({**config, "preprocessor": next(iter(contents.values()), {})})


def _renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Remove wrappers and prefixes from keys, and the counter of `torch.optim.swa_utils.AveragedModel`."""
    weights = {_WRAPPING_MODULES.sub("", key): value for key, value in weights.items()}
    if len(weights) > 1 and weights.get("n_averaged", torch.zeros(1)).dim() == 0:
        del weights["n_averaged"]
    while prefix := next((one for one in _PREFIXES if all(key.startswith(one) for key in weights)), ""):
        weights = {key.removeprefix(prefix): value for key, value in weights.items()}
    return weights


def _load(path: Path) -> object:
    with path.open("rb") as file:
        beginning = file.read(4096)
    if said := _said_of(beginning):
        raise UserError(f"{path} {said}")
    if beginning[8:10] == b'{"':  # after the length of the header
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path} is damaged: {error}") from error
    if not beginning.startswith((_ZIP, _MAGIC)) and _is_caffe2(beginning):
        return read_caffe2(path)
    stand_ins: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [(_Discarded, name) for name in _DISCARDED]
    try:
        with torch.serialization.safe_globals(stand_ins):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(_refusal(path, beginning, str(error))) from error
    except Exception as error:  # damaged bytes may raise anything in the unpickler
        raise UserError(_damaged(path, beginning, str(error) or type(error).__name__)) from error


def _said_of(beginning: bytes) -> str:
    """Describe a file that is no checkpoint by its first bytes; empty if it may be one."""
    if not beginning:
        return "is empty"
    text = beginning.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"<"):
        kind = "an XML document" if text.startswith(b"<?xml") else "an HTML page"
        return f"is {kind}, not a checkpoint: a server has answered the download with it; download the file again"
    return next((said for start, said in _BEGINNINGS if beginning.startswith(start)), "")


def _refusal(path: Path, beginning: bytes, reason: str) -> str:
    name = re.search(r"GLOBAL (\S+)", reason)
    if name is None:
        found = re.search(r"WeightsUnpickler error: (.+)", reason)
        return _damaged(path, beginning, found[1] if found else reason)
    return (
        f"{path} is refused, and nothing in it was run: beside weights it asks for {name[1]}, and a pickle that may "
        "call Python can do anything. If you trust where it comes from, save its weights alone with the tool that "
        "wrote it: torch.save(model.state_dict(), FILE)"
    )


def _is_caffe2(beginning: bytes) -> bool:
    """Return whether a pickle is a dict of Caffe2 blobs, as in the model zoos of Detectron and PySlowFast."""
    return b"blobs" in beginning[:256] or b"_bn_riv" in beginning or b"res_conv1_bn" in beginning


def _damaged(path: Path, beginning: bytes, reason: str) -> str:
    if "TorchScript" in reason:
        return f"{path} is a TorchScript program, not a state dict: save torch.jit.load(FILE).state_dict()"
    if zipfile.is_zipfile(path) and not _has_pickle(path):
        return f"{path} is a ZIP archive without a checkpoint of PyTorch: unpack it first"
    if beginning.startswith(b"\x80") and not beginning.startswith(_MAGIC):
        return f"{path} is a pickle of another kind than PyTorch's checkpoints, or damaged: expected a torch.save file"
    # Without torch's advice on loading trusted files.
    return f"{path} is damaged, or is no checkpoint of PyTorch: {reason.partition('. In PyTorch 2.6')[0]}"


def _has_pickle(path: Path) -> bool:
    """Return whether an archive has PyTorch's pickle; True if its directory cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("data.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):  # ValueError: names that are not UTF-8
        return True
