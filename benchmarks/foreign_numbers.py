"""Record what other tools' own code computes, for the tests of `kinema convert`.

Builds a tool's networks from a checkout of it, fills them with weights that each key's name determines, and writes
their keys, configuration and answers to `tests/models/foreign_numbers/TOOL.json`. Networks are narrow and frames small;
depth, strides, padding and everything else are those of the tool's own configuration files.

    python -m benchmarks.foreign_numbers pyslowfast SlowFast pytorchvideo
    python -m benchmarks.foreign_numbers mmaction2 mmaction2        # 1.x, with mmengine and mmcv-lite
    python -m benchmarks.foreign_numbers mmaction2_0x mmaction2 mmcv  # branch 0.x, and mmcv's branch 1.x
    python -m benchmarks.foreign_numbers tsm temporal-shift-module
    python -m benchmarks.foreign_numbers torchvision

It is run from the root of this repository by a Python that has torch, torchvision and what the tool imports (fvcore,
iopath, mmengine, mmcv-lite, …). What a tool imports but does not need here (detectron2) is replaced by a stub.
"""

# ruff: noqa: E501  (the configuration files have long names)

import copy
import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import torch
import torchvision
from tests.models import parity
from torch import Tensor, nn

CLASSES = 11
WIDTH = 16
OUTPUT = Path("tests/models/foreign_numbers")

Case = dict[str, Any]


def main(tool: str, *checkouts: str) -> None:
    sys.path[:0] = checkouts
    sys.meta_path.append(Stubs())
    torch.set_num_threads(1)
    cases: list[Case] = []
    keys: dict[str, dict[str, str]] = {}
    with torch.inference_mode():
        for case in TOOLS[tool](*map(Path, checkouts)):
            case["keys"] = _shared(keys, case.pop("shapes"), case["name"])
            cases.append(case)
            print(case["name"], case["frames"], [round(value, 3) for value in case["logits"][0][:3]], flush=True)
    content = {"tool": tool, "commits": [_commit(path) for path in checkouts], "keys": keys, "cases": cases}
    (OUTPUT / f"{tool}.json").write_text(_compact(content))


def _shared(keys: dict[str, dict[str, str]], shapes: dict[str, str], name: str) -> str:
    """The name under which these keys are written: that of the first network which has the same."""
    same = next((known for known, others in keys.items() if others == shapes), name)
    keys.setdefault(same, shapes)
    return same


class Stubs(MetaPathFinder, Loader):
    """Stands in for packages that are not installed and that a tool imports but does not need for its networks."""

    PACKAGES = ("cv2", "detectron2", "fairscale", "pandas", "scipy", "sklearn", "timm", "decord", "librosa")

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if name.partition(".")[0] in self.PACKAGES else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = MagicMock(name=spec.name)
        module.__spec__, module.__path__, module.__version__ = spec, [], "99"
        return module

    def exec_module(self, module: ModuleType) -> None:
        pass


def _commit(checkout: str) -> str:
    """Name and commit of a checkout, `unknown` where git does not know it or only knows a folder above it."""
    git = ["git", "-C", checkout, "rev-parse"]
    top = subprocess.run([*git, "--show-toplevel"], capture_output=True, text=True, check=False).stdout.strip()
    head = subprocess.run([*git, "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    name = Path(checkout, "COMMIT")
    head = name.read_text().strip() if name.is_file() else head if top and Path(top) == Path(checkout).resolve() else ""
    return f"{Path(checkout).name} {head or 'unknown'}"


def _compact(content: dict[str, Any]) -> str:
    """JSON with a line for each value."""
    return json.dumps(content, indent=0, ensure_ascii=False) + "\n"


def _fill(module: nn.Module, scales: dict[str, float] | None = None) -> dict[str, str]:
    """Fill a network by the rule of `tests.models.parity`; its keys and shapes.

    What begins to match a pattern of `scales` is scaled: else probabilities and attention would be 0 and 1.
    """
    shapes = {key: list(value.shape) for key, value in module.state_dict().items()}
    weights = parity.state_dict(shapes, scales or {}) | {
        key: value for key, value in module.state_dict().items() if key.endswith(("sample_mask", "bm_mask"))
    }
    module.load_state_dict(weights)
    module.eval()
    return _by_module(shapes)


def _by_module(shapes: dict[str, list[int]]) -> dict[str, str]:
    """Each module's tensors: `norm 64` is a batch norm of 64 channels, `weight 8x3 bias 8` what it says."""
    modules: dict[str, dict[str, list[int]]] = {}
    for key, shape in shapes.items():
        module, _, leaf = key.rpartition(".")
        modules.setdefault(module, {})[leaf] = shape
    return {module: _described(leaves) for module, leaves in modules.items()}


def _described(leaves: dict[str, list[int]]) -> str:
    if list(leaves) == list(parity.NORM):
        return f"norm {leaves['weight'][0]}"
    return " ".join(f"{leaf} {'x'.join(map(str, shape))}" for leaf, shape in leaves.items())


def _answers(logits: Tensor) -> list[list[float]]:
    return [[float(f"{value:.9g}") for value in row] for row in logits.double().tolist()]


def _case(name: str, frames: int, shapes: dict[str, str], logits: Tensor, size: int = 64, **more: Any) -> Case:
    return {"name": name, "frames": frames, "size": size, **more, "logits": _answers(logits), "shapes": shapes}


def _scales(name: str) -> dict[str, float]:
    """Of projections in non-local blocks, by the name of the network."""
    if "_nl" not in name:
        return {}
    return {".*theta": 1e-5 if "dot_product" in name else 1e-3}


# PySlowFast

PYSLOWFAST: dict[str, tuple[str, list[object]]] = {
    "i3d_r50_8x8": ("I3D_8x8_R50", []),
    "i3d_r101_8x8": ("I3D_8x8_R101", []),
    "i3d_nln_r50_8x8": ("I3D_NLN_8x8_R50", []),
    "i3d_nln_dot_product_r50_8x8": ("I3D_NLN_8x8_R50", ["NONLOCAL.INSTANTIATION", "dot_product"]),
    "i3d_nln_r101_8x8": ("I3D_NLN_8x8_R101", []),
    "i3d_r50_32x2": ("I3D_8x8_R50", ["DATA.NUM_FRAMES", 32, "DATA.SAMPLING_RATE", 2]),
    "slow_r50_4x16": ("SLOW_4x16_R50", []),
    "slow_r50_8x8": ("SLOW_8x8_R50", []),
    "slow_r101_8x8": ("SLOW_8x8_R50", ["RESNET.DEPTH", 101,
                                       "RESNET.NUM_BLOCK_TEMP_KERNEL", [[3], [4], [23], [3]]]),
    "slowfast_r50_4x16": ("SLOWFAST_4x16_R50", []),
    "slowfast_r50_8x8": ("SLOWFAST_8x8_R50", []),
    "slowfast_r50_8x8_multigrid": ("SLOWFAST_8x8_R50_stepwise_multigrid", []),
    "slowfast_r101_8x8": ("c2/SLOWFAST_8x8_R101_101_101", []),
    "slowfast_r101_4x16": ("SLOWFAST_4x16_R50", ["RESNET.DEPTH", 101, "RESNET.NUM_BLOCK_TEMP_KERNEL",
                                                 [[3, 3], [4, 4], [23, 23], [3, 3]]]),
    "slowfast_r50_16x8": ("../SSv2/SLOWFAST_16x8_R50", []),
    "slowfast_r50_16x8_charades": ("../Charades/SLOWFAST_16x8_R50", []),
}  # fmt: skip
PYSLOWFAST_SECTIONS = ("DATA", "DETECTION", "MODEL", "MULTIGRID", "NONLOCAL", "RESNET", "SLOWFAST")


def pyslowfast(checkout: Path, *_: Path) -> Iterator[Case]:
    from slowfast.config.defaults import get_cfg

    for name, (file, options) in PYSLOWFAST.items():
        cfg = get_cfg()
        cfg.merge_from_file(str(checkout / "configs" / "Kinetics" / f"{file}.yaml"))
        cfg.merge_from_list([*options, "MODEL.NUM_CLASSES", CLASSES, "RESNET.WIDTH_PER_GROUP", WIDTH, "NUM_GPUS", 0])
        cfg.merge_from_list(["DATA.TRAIN_CROP_SIZE", 64, "DATA.TEST_CROP_SIZE", 96])
        cfg.merge_from_list(["BN.NORM_TYPE", "batchnorm"])  # which is what the tool saves
        scales = _scales(name)
        logits, shapes = _pyslowfast_answers(cfg, "none", 64, scales)
        size = float(f"{3 / logits.abs().max():.3g}")
        scaled = {**scales, "head": size}
        probabilities, _ = _pyslowfast_answers(cfg, cfg.MODEL.HEAD_ACT, 64, scaled)
        windows, _ = _pyslowfast_answers(cfg, cfg.MODEL.HEAD_ACT, 96, scaled)
        text = _yaml({section: _plain(cfg[section]) for section in PYSLOWFAST_SECTIONS})
        more = {"scaled": scaled, "probabilities": _answers(probabilities), "windows": _answers(windows)}
        yield _case(name, cfg.DATA.NUM_FRAMES, shapes, logits, scales=scales, config=text, **more)


def _pyslowfast_answers(
    cfg: Any, activation: str, size: int, scales: dict[str, float]
) -> tuple[Tensor, dict[str, str]]:
    from slowfast.datasets.utils import pack_pathway_output, tensor_normalize
    from slowfast.models.video_model_builder import ResNet, SlowFast

    cfg = cfg.clone()
    cfg.MODEL.HEAD_ACT = activation
    model = {"ResNet": ResNet, "SlowFast": SlowFast}[cfg.MODEL.MODEL_NAME](cfg)
    shapes = _fill(model, scales)
    rows = []
    for clip in parity.pixels(3, cfg.DATA.NUM_FRAMES, size):
        normalised = tensor_normalize(clip.permute(1, 2, 3, 0), cfg.DATA.MEAN, cfg.DATA.STD)
        pathways = pack_pathway_output(cfg, normalised.permute(3, 0, 1, 2))
        rows.append(model([pathway[None] for pathway in pathways])[0])
    return torch.stack(rows), shapes


def _plain(node: Any) -> Any:
    return {key: _plain(value) for key, value in node.items()} if isinstance(node, dict) else node


def _yaml(content: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(content)


# MMAction2

_I3D18 = {"backbone.depth": 18, "backbone.inflate": ((1, 1), (1, 0), (1, 0), (0, 1))}
_I3D101 = {"backbone.depth": 101, "backbone.inflate": ((1,) * 3, (1, 0) * 2, (1, 0) * 11 + (1,), (0, 1, 0))}
_BOTH = "backbone.slow_pathway.{0}", "backbone.fast_pathway.{0}"
_BASIC = {"cls_head.in_channels": 512}


def _both(option: str, value: object) -> dict[str, object]:
    return {name.format(option): value for name in _BOTH}


# Name → file of branch 0.x, of 1.x, options changed.
MMACTION2: dict[str, tuple[str, str, dict[str, object]]] = {
    "tsn_r50": ("tsn/tsn_r50_1x1x3_100e_kinetics400_rgb", "tsn/tsn_imagenet-pretrained-r50_8xb32-1x1x3-100e_kinetics400-rgb", {}),
    "tsn_r50_8": ("tsn/tsn_r50_video_1x1x8_100e_kinetics400_rgb", "tsn/tsn_imagenet-pretrained-r50_8xb32-1x1x8-100e_kinetics400-rgb", {}),
    "tsn_r18": ("tsn/tsn_r50_1x1x3_100e_kinetics400_rgb", "", {"backbone.depth": 18, **_BASIC}),
    "tsn_r101": ("tsn/tsn_r50_1x1x3_100e_kinetics400_rgb", "tsn/tsn_imagenet-pretrained-r101_8xb32-1x1x8-100e_kinetics400-rgb", {"backbone.depth": 101}),
    "tsn_r50_flow": ("tsn/tsn_r50_320p_1x1x3_110e_kinetics400_flow", "tsn/tsn_imagenet-pretrained-r50_8xb32_5x1x3-110e_kinetics400-flow", {}),
    "tsm_r50": ("tsm/tsm_r50_1x1x8_50e_kinetics400_rgb", "tsm/tsm_imagenet-pretrained-r50_8xb16-1x1x8-50e_kinetics400-rgb", {}),
    "tsm_r50_16": ("tsm/tsm_r50_1x1x16_50e_kinetics400_rgb", "tsm/tsm_imagenet-pretrained-r50_8xb16-1x1x16-50e_kinetics400-rgb", {}),
    "tsm_r18": ("tsm/tsm_r50_1x1x8_50e_kinetics400_rgb", "", {"backbone.depth": 18, **_BASIC}),
    "tsm_r18_div4": ("tsm/tsm_r50_1x1x8_50e_kinetics400_rgb", "", {"backbone.depth": 18, "backbone.shift_div": 4, **_BASIC}),
    "tsm_r101": ("tsm/tsm_r101_1x1x8_50e_sthv2_rgb", "tsm/tsm_imagenet-pretrained-r101_8xb16-1x1x8-50e_sthv2-rgb", {}),
    "i3d_r50_32x2": ("i3d/i3d_r50_32x2x1_100e_kinetics400_rgb", "i3d/i3d_imagenet-pretrained-r50_8xb8-32x2x1-100e_kinetics400-rgb", {}),
    "i3d_r50_heavy_8x8": ("i3d/i3d_r50_heavy_8x8x1_100e_kinetics400_rgb", "", {}),
    "i3d_r50_8x8": ("i3d/i3d_r50_heavy_8x8x1_100e_kinetics400_rgb", "", {"backbone.inflate": ((1, 1, 1), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 1, 0))}),
    "i3d_r50_nl_dot_product": ("i3d/i3d_nl_dot_product_r50_32x2x1_100e_kinetics400_rgb", "i3d/i3d_imagenet-pretrained-r50-nl-dot-product_8xb8-32x2x1-100e_kinetics400-rgb", {}),
    "i3d_r50_nl_embedded_gaussian": ("i3d/i3d_nl_embedded_gaussian_r50_32x2x1_100e_kinetics400_rgb", "i3d/i3d_imagenet-pretrained-r50-nl-embedded-gaussian_8xb8-32x2x1-100e_kinetics400-rgb", {}),
    "i3d_r50_nl_gaussian": ("i3d/i3d_nl_gaussian_r50_32x2x1_100e_kinetics400_rgb", "i3d/i3d_imagenet-pretrained-r50-nl-gaussian_8xb8-32x2x1-100e_kinetics400-rgb", {}),
    "i3d_r101_32x2": ("i3d/i3d_r50_32x2x1_100e_kinetics400_rgb", "", _I3D101),
    "i3d_r18_32x2": ("i3d/i3d_r50_32x2x1_100e_kinetics400_rgb", "", {**_I3D18, **_BASIC}),
    "slowonly_r50_4x16": ("slowonly/slowonly_r50_4x16x1_256e_kinetics400_rgb", "slowonly/slowonly_r50_8xb16-4x16x1-256e_kinetics400-rgb", {}),
    "slowonly_r50_8x8": ("slowonly/slowonly_r50_8x8x1_256e_kinetics400_rgb", "slowonly/slowonly_r50_8xb16-8x8x1-256e_kinetics400-rgb", {}),
    "slowonly_r18_4x16": ("slowonly/slowonly_r50_4x16x1_256e_kinetics400_rgb", "", {"backbone.depth": 18, **_BASIC}),
    "slowonly_r101_8x8": ("slowonly/slowonly_r101_8x8x1_196e_kinetics400_rgb", "slowonly/slowonly_r101_8xb16-8x8x1-196e_kinetics400-rgb", {}),
    "slowfast_r50_4x16": ("slowfast/slowfast_r50_4x16x1_256e_kinetics400_rgb", "slowfast/slowfast_r50_8xb8-4x16x1-256e_kinetics400-rgb", {}),
    "slowfast_r50_8x8": ("slowfast/slowfast_r50_8x8x1_256e_kinetics400_rgb", "slowfast/slowfast_r50_8xb8-8x8x1-256e_kinetics400-rgb", {}),
    "slowfast_r50_8x8_multigrid": ("slowfast/slowfast_multigrid_r50_8x8x1_358e_kinetics400_rgb", "", {}),
    "slowfast_r50_16x8": ("slowfast/slowfast_r50_16x8x1_22e_sthv1_rgb", "", {}),
    "slowfast_r101_8x8": ("slowfast/slowfast_r101_8x8x1_256e_kinetics400_rgb", "slowfast/slowfast_r101_8xb8-8x8x1-256e_kinetics400-rgb", {}),
    "slowfast_r101_4x16": ("slowfast/slowfast_r50_4x16x1_256e_kinetics400_rgb", "", _both("depth", 101)),
    "slowfast_r18_4x16": ("slowfast/slowfast_r50_4x16x1_256e_kinetics400_rgb", "", {**_both("depth", 18), **_BASIC}),
    "slowfast_r18_4x4": ("slowfast/slowfast_r50_4x16x1_256e_kinetics400_rgb", "", {
        **_both("depth", 18), **_BASIC, "backbone.resample_rate": 4, "backbone.speed_ratio": 4, "backbone.channel_ratio": 4}),
    "r2plus1d_r34_8x8": ("r2plus1d/r2plus1d_r34_8x8x1_180e_kinetics400_rgb", "r2plus1d/r2plus1d_r34_8xb8-8x8x1-180e_kinetics400-rgb", {}),
    "r2plus1d_r34_32x2": ("r2plus1d/r2plus1d_r34_32x2x1_180e_kinetics400_rgb", "r2plus1d/r2plus1d_r34_8xb8-32x2x1-180e_kinetics400-rgb", {}),
    "r2plus1d_r18_8x8": ("r2plus1d/r2plus1d_r34_8x8x1_180e_kinetics400_rgb", "", {"backbone.depth": 18}),
}  # fmt: skip


def mmaction2_0x(checkout: Path, *_: Path) -> Iterator[Case]:
    from mmaction.models import build_model
    from mmcv import Config
    from mmcv.utils.logging import logger_initialized

    logger_initialized.clear()
    for name, (file, _, options) in MMACTION2.items():
        cfg = Config.fromfile(str(checkout / "configs" / "recognition" / f"{file}.py"))
        _narrow(cfg.model, options)
        model = build_model(copy.deepcopy(cfg.model))
        shapes = _fill(model, _scales(name))
        sampling, norm = _steps(cfg.test_pipeline, "SampleFrames"), _steps(cfg.test_pipeline, "Normalize")
        mean, std = (torch.tensor(norm[key]).view(-1, 1, 1, 1) for key in ("mean", "std"))
        pixels = _mmaction2_pixels(cfg, sampling, name)
        logits = _mmaction2_logits(model, cfg, (pixels - mean) / std)
        text = Config({"model": cfg.model, "test_pipeline": cfg.test_pipeline}).pretty_text
        yield _case(name, pixels.shape[2], shapes, logits, scales=_scales(name), config=text)
    yield from _localizers(checkout, Config, build_model)


def mmaction2(checkout: Path, *_: Path) -> Iterator[Case]:
    sys.modules["importlib_metadata"] = importlib.metadata
    import mmcv

    mmcv.__version__ = "2.1.0"  # the last one that it accepts
    from mmaction.registry import MODELS
    from mmaction.utils import register_all_modules
    from mmengine.config import Config

    register_all_modules()
    for name, (_, file, options) in MMACTION2.items():
        if not file:
            continue
        cfg = Config.fromfile(str(checkout / "configs" / "recognition" / f"{file}.py"))
        _narrow(cfg.model, options)
        model = MODELS.build(copy.deepcopy(cfg.model))
        shapes = _fill(model, _scales(name))
        pixels = _mmaction2_pixels(cfg, _steps(cfg.test_pipeline, "SampleFrames"), name)
        preprocessor = model.data_preprocessor
        # Those of flow are repeated for each channel that the network sees together.
        mean, std = (value.view(-1, 1, 1, 1)[: pixels.shape[1]] for value in (preprocessor.mean, preprocessor.std))
        logits = _mmaction2_logits(model, cfg, (pixels - mean) / std)
        text = Config({"model": cfg.model, "test_pipeline": cfg.test_pipeline}).pretty_text
        yield _case(name, pixels.shape[2], shapes, logits, scales=_scales(name), config=text)
    yield from _localizers(checkout, Config, MODELS.build)


LOCALIZERS: dict[str, tuple[str, dict[str, object], tuple[int, ...]]] = {
    "bmn": ("bmn_400x100", {}, (1, 400, 100)),
    "bmn_2048": ("bmn_400x100", {"feat_dim": 2048}, (1, 2048, 100)),
    "bmn_64x50": ("bmn_400x100", {"feat_dim": 64, "temporal_dim": 50, "num_samples": 16, "hidden_dim_1d": 128,
                                  "hidden_dim_2d": 64, "hidden_dim_3d": 128}, (1, 64, 50)),
    "bsn_tem": ("bsn_tem", {}, (2, 400, 100)),
    "bsn_tem_2048": ("bsn_tem", {"tem_feat_dim": 2048}, (2, 2048, 100)),
    "bsn_pem": ("bsn_pem", {}, (1, 20, 32)),
}  # fmt: skip


def _localizers(checkout: Path, config: Any, build: Callable[[Any], Any]) -> Iterator[Case]:
    """Every 97th of a network's numbers, of random features."""
    for name, (file, options, shape) in LOCALIZERS.items():
        cfg = config.fromfile(str(checkout / "configs" / "_base_" / "models" / f"{file}.py"))
        cfg.model.update(options)
        model = build(copy.deepcopy(cfg.model))
        shapes = _fill(model)
        answer = model._forward(parity.features(list(shape)))
        flat = torch.cat([part.flatten() for part in (answer if isinstance(answer, tuple) else (answer,))])
        text = config({"model": cfg.model}).pretty_text
        yield _case(name, shape[-1], shapes, flat[None, ::97], 0, input_shape=shape, config=text)


def _narrow(model: Any, options: dict[str, object]) -> None:
    """Change options of a model's config, its classes, and its width where it has one."""
    for key, value in options.items():
        *path, last = key.split(".")
        node = model
        for part in path:
            node = node[part]
        node[last] = value
    model.cls_head.num_classes = CLASSES
    backbone = model.backbone
    backbone.pretrained = None
    if "slow_pathway" in backbone:
        ratio = backbone.channel_ratio
        backbone.slow_pathway.base_channels, backbone.fast_pathway.base_channels = WIDTH, WIDTH // ratio
        expansion = 32 if backbone.slow_pathway.depth >= 50 else 8
        model.cls_head.in_channels = expansion * WIDTH + expansion * (WIDTH // ratio)
    elif "3d" in backbone.type or "2Plus1d" in backbone.type:
        backbone.base_channels = WIDTH
        model.cls_head.in_channels = model.cls_head.in_channels * WIDTH // 64


def _steps(pipeline: Any, kind: str) -> Any:
    return next(step for step in pipeline if step["type"] == kind)


def _mmaction2_pixels(cfg: Any, sampling: Any, name: str) -> Tensor:
    frames, channels = sampling["clip_len"], 2 if "flow" in name else 3
    if cfg.model.type == "Recognizer2D":
        frames *= 3 if cfg.model.backbone.type == "ResNet" else sampling["num_clips"]
    return parity.pixels(channels, frames, 64).float()


def _mmaction2_logits(model: Any, cfg: Any, clips: Tensor) -> Tensor:
    """Of normalised clips `(N, C, T, H, W)`, each given to the tool as it wants it."""
    rows = []
    for clip in clips:
        if cfg.model.type == "Recognizer2D":
            images = clip.transpose(0, 1).reshape(-1, cfg.model.backbone.get("in_channels", 3), *clip.shape[-2:])
            features = model.backbone(images)
            rows.append(model.cls_head(features, len(images))[0])
        else:
            rows.append(model.cls_head(model.backbone(clip[None]))[0])
    return torch.stack(rows)


# temporal-shift-module

TSM: dict[str, dict[str, Any]] = {
    "tsn_r50": {"base_model": "resnet50", "num_segments": 3},
    "tsn_r18": {"base_model": "resnet18", "num_segments": 3},
    "tsn_r101": {"base_model": "resnet101", "num_segments": 3},
    "tsm_r50": {"base_model": "resnet50", "num_segments": 8, "is_shift": True},
    "tsm_r50_16": {"base_model": "resnet50", "num_segments": 16, "is_shift": True},
    "tsm_r18": {"base_model": "resnet18", "num_segments": 8, "is_shift": True},
    "tsm_r18_div4": {"base_model": "resnet18", "num_segments": 8, "is_shift": True, "shift_div": 4},
    "tsm_r101": {"base_model": "resnet101", "num_segments": 8, "is_shift": True},
}


def tsm(*_: Path) -> Iterator[Case]:
    from ops.models import TSN
    from ops.transforms import GroupNormalize

    for name, options in TSM.items():
        model = TSN(CLASSES, modality="RGB", pretrain="none", print_spec=False, partial_bn=False, **options)
        shapes = _fill(model)
        normalize = GroupNormalize(model.input_mean, model.input_std)
        rows = []
        for clip in parity.pixels(3, options["num_segments"], 64):
            frames = clip.transpose(0, 1).reshape(-1, 64, 64).float() / 255
            rows.append(model(normalize(frames)[None])[0])
        place = "shift{}_blockres".format(options.get("shift_div", 8)) if options.get("is_shift") else "TSN"
        file = f"TSM_kinetics_RGB_{options['base_model']}_{place}_avg_segment{options['num_segments']}_e50.pth"
        yield _case(name, options["num_segments"], shapes, torch.stack(rows), file=file)


# torchvision


def torchvision_() -> Iterator[Case]:
    from torchvision.models import get_model, get_model_weights, video

    for name in ("r2plus1d_18", "r3d_18", "mc3_18"):
        model = video.__dict__[name](num_classes=CLASSES)
        shapes = _fill(model)
        preset = get_model_weights(name).DEFAULT.transforms()
        pixels = parity.pixels(3, 16, 64).float() / 255
        mean, std = (torch.tensor(values).view(-1, 1, 1, 1) for values in (preset.mean, preset.std))
        yield _case(name, 16, shapes, model((pixels - mean) / std))
    for name in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"):
        model = get_model(name, num_classes=CLASSES)
        shapes = _fill(model)
        preset = get_model_weights(name).IMAGENET1K_V1.transforms()
        normalise = torchvision.transforms.Normalize(preset.mean, preset.std)
        frames = normalise(parity.pixels(3, 1, 64)[:, :, 0].float() / 255)
        yield _case(name, 1, shapes, model(frames))


TOOLS: dict[str, Callable[..., Iterator[Case]]] = {
    "pyslowfast": pyslowfast,
    "mmaction2": mmaction2,
    "mmaction2_0x": mmaction2_0x,
    "tsm": tsm,
    "torchvision": torchvision_,
}


if __name__ == "__main__":
    main(*sys.argv[1:])
