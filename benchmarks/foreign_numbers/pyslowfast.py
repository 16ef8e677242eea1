"""Networks of PySlowFast."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from benchmarks.foreign_numbers.cases import CLASSES, WIDTH, Case, answers, case, fill, nonlocal_scales
from tests.models import parity
from torch import Tensor

NETWORKS: dict[str, tuple[str, list[object]]] = {
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
MVIT_SCALES = {r".*attn\.qkv\.": 0.3}
"""Of queries and keys, as attention would be too sharp."""
SECTIONS = ("DATA", "DETECTION", "MODEL", "MULTIGRID", "MVIT", "NONLOCAL", "RESNET", "SLOWFAST")


def cases(checkout: Path, *_: Path) -> Iterator[Case]:
    from slowfast.config.defaults import get_cfg

    for name, (file, options) in NETWORKS.items():
        cfg = get_cfg()
        cfg.merge_from_file(str(checkout / "configs" / "Kinetics" / f"{file}.yaml"))
        cfg.merge_from_list([*options, "MODEL.NUM_CLASSES", CLASSES, "RESNET.WIDTH_PER_GROUP", WIDTH, "NUM_GPUS", 0])
        cfg.merge_from_list(["DATA.TRAIN_CROP_SIZE", 64, "DATA.TEST_CROP_SIZE", 96])
        cfg.merge_from_list(["BN.NORM_TYPE", "batchnorm"])  # as saved by the tool
        scales = nonlocal_scales(name)
        logits, shapes = _logits(cfg, "none", 64, scales)
        size = float(f"{3 / logits.abs().max():.3g}")
        scaled = {**scales, "head": size}
        probabilities, _ = _logits(cfg, cfg.MODEL.HEAD_ACT, 64, scaled)
        windows, _ = _logits(cfg, cfg.MODEL.HEAD_ACT, 96, scaled)
        text = yaml.safe_dump({section: _plain(cfg[section]) for section in SECTIONS})
        more = {"scaled": scaled, "probabilities": answers(probabilities), "windows": answers(windows)}
        yield case(name, cfg.DATA.NUM_FRAMES, shapes, logits, scales=scales, config=text, **more)
    yield _mvit(checkout)


def _mvit(checkout: Path) -> Case:
    """MViTv2-S, which takes crops of one size only."""
    from slowfast.config.defaults import get_cfg

    cfg = get_cfg()
    cfg.merge_from_file(str(checkout / "configs" / "Kinetics" / "MVITv2_S_16x4.yaml"))
    cfg.merge_from_list(["MODEL.NUM_CLASSES", CLASSES, "MVIT.EMBED_DIM", WIDTH, "NUM_GPUS", 0])
    cfg.merge_from_list(["DATA.TRAIN_CROP_SIZE", 64, "DATA.TEST_CROP_SIZE", 64])
    logits, shapes = _logits(cfg, "none", 64, MVIT_SCALES)
    text = yaml.safe_dump({section: _plain(cfg[section]) for section in SECTIONS})
    return case("mvitv2_s_16x4", cfg.DATA.NUM_FRAMES, shapes, logits, scales=MVIT_SCALES, config=text)


def _logits(cfg: Any, activation: str, size: int, scales: dict[str, float]) -> tuple[Tensor, dict[str, str]]:
    from slowfast.datasets.utils import pack_pathway_output, tensor_normalize
    from slowfast.models.video_model_builder import MViT, ResNet, SlowFast

    cfg = cfg.clone()
    cfg.MODEL.HEAD_ACT = activation
    model = {"ResNet": ResNet, "SlowFast": SlowFast, "MViT": MViT}[cfg.MODEL.MODEL_NAME](cfg)
    shapes = fill(model, scales)
    rows = []
    for clip in parity.pixels(3, cfg.DATA.NUM_FRAMES, size):
        normalized = tensor_normalize(clip.permute(1, 2, 3, 0), cfg.DATA.MEAN, cfg.DATA.STD)
        pathways = pack_pathway_output(cfg, normalized.permute(3, 0, 1, 2))
        rows.append(model([pathway[None] for pathway in pathways])[0])
    return torch.stack(rows), shapes


def _plain(node: Any) -> Any:
    return {key: _plain(value) for key, value in node.items()} if isinstance(node, dict) else node
