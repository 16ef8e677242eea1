"""Networks of MMAction2, branches 0.x and 1.x."""

# ruff: noqa: E501  (the configuration files have long names)

import copy
import importlib.metadata
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from benchmarks.foreign_numbers.cases import CLASSES, WIDTH, Case, case, fill, nonlocal_scales
from tests.models import parity
from torch import Tensor

_I3D18 = {"backbone.depth": 18, "backbone.inflate": ((1, 1), (1, 0), (1, 0), (0, 1))}
_I3D101 = {"backbone.depth": 101, "backbone.inflate": ((1,) * 3, (1, 0) * 2, (1, 0) * 11 + (1,), (0, 1, 0))}
_BOTH = "backbone.slow_pathway.{0}", "backbone.fast_pathway.{0}"
_BASIC = {"cls_head.in_channels": 512}


def _both(option: str, value: object) -> dict[str, object]:
    return {name.format(option): value for name in _BOTH}


# Name → file of branch 0.x, of 1.x, options changed.
RECOGNIZERS: dict[str, tuple[str, str, dict[str, object]]] = {
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


def cases_0x(checkout: Path, *_: Path) -> Iterator[Case]:
    from mmaction.models import build_model
    from mmcv import Config
    from mmcv.utils.logging import logger_initialized

    logger_initialized.clear()
    for name, (file, _, options) in RECOGNIZERS.items():
        cfg = Config.fromfile(str(checkout / "configs" / "recognition" / f"{file}.py"))
        _narrow(cfg.model, options)
        model = build_model(copy.deepcopy(cfg.model))
        shapes = fill(model, nonlocal_scales(name))
        sampling, norm = _steps(cfg.test_pipeline, "SampleFrames"), _steps(cfg.test_pipeline, "Normalize")
        mean, std = (torch.tensor(norm[key]).view(-1, 1, 1, 1) for key in ("mean", "std"))
        pixels = _pixels(cfg, sampling, name)
        logits = _logits(model, cfg, (pixels - mean) / std)
        text = Config({"model": cfg.model, "test_pipeline": cfg.test_pipeline}).pretty_text
        yield case(name, pixels.shape[2], shapes, logits, scales=nonlocal_scales(name), config=text)
    yield from _localizers(checkout, Config, build_model)


def cases(checkout: Path, *_: Path) -> Iterator[Case]:
    sys.modules["importlib_metadata"] = importlib.metadata
    import mmcv

    mmcv.__version__ = "2.1.0"  # the latest version it accepts
    from mmaction.registry import MODELS
    from mmaction.utils import register_all_modules
    from mmengine.config import Config

    register_all_modules()
    for name, (_, file, options) in RECOGNIZERS.items():
        if not file:
            continue
        cfg = Config.fromfile(str(checkout / "configs" / "recognition" / f"{file}.py"))
        _narrow(cfg.model, options)
        model = MODELS.build(copy.deepcopy(cfg.model))
        shapes = fill(model, nonlocal_scales(name))
        pixels = _pixels(cfg, _steps(cfg.test_pipeline, "SampleFrames"), name)
        preprocessor = model.data_preprocessor
        # Those of flow are repeated for all stacked channels.
        mean, std = (value.view(-1, 1, 1, 1)[: pixels.shape[1]] for value in (preprocessor.mean, preprocessor.std))
        logits = _logits(model, cfg, (pixels - mean) / std)
        text = Config({"model": cfg.model, "test_pipeline": cfg.test_pipeline}).pretty_text
        yield case(name, pixels.shape[2], shapes, logits, scales=nonlocal_scales(name), config=text)
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
    """Record every 97th output of a network on random features."""
    for name, (file, options, shape) in LOCALIZERS.items():
        cfg = config.fromfile(str(checkout / "configs" / "_base_" / "models" / f"{file}.py"))
        cfg.model.update(options)
        model = build(copy.deepcopy(cfg.model))
        shapes = fill(model)
        answer = model._forward(parity.features(list(shape)))
        flat = torch.cat([part.flatten() for part in (answer if isinstance(answer, tuple) else (answer,))])
        text = config({"model": cfg.model}).pretty_text
        yield case(name, shape[-1], shapes, flat[None, ::97], 0, input_shape=shape, config=text)


def _narrow(model: Any, options: dict[str, object]) -> None:
    """Change options of a model's config, its number of classes and its width."""
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


def _pixels(cfg: Any, sampling: Any, name: str) -> Tensor:
    frames, channels = sampling["clip_len"], 2 if "flow" in name else 3
    if cfg.model.type == "Recognizer2D":
        frames *= 3 if cfg.model.backbone.type == "ResNet" else sampling["num_clips"]
    return parity.pixels(channels, frames, 64).float()


def _logits(model: Any, cfg: Any, clips: Tensor) -> Tensor:
    """Logits of normalized clips `(N, C, T, H, W)`, in the input layout of the tool."""
    rows = []
    for clip in clips:
        if cfg.model.type == "Recognizer2D":
            images = clip.transpose(0, 1).reshape(-1, cfg.model.backbone.get("in_channels", 3), *clip.shape[-2:])
            features = model.backbone(images)
            rows.append(model.cls_head(features, len(images))[0])
        else:
            rows.append(model.cls_head(model.backbone(clip[None]))[0])
    return torch.stack(rows)
