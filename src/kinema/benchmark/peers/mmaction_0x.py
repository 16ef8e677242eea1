"""MMAction 0.x from a checkout, which reports why it no longer runs."""

import sys
import types

from plain_torch import clips, prepare, recognizer
from protocol import Contender, Request, answer

CONFIGS = {
    "tsn": "configs/TSN/tsn_kinetics400_2d_rgb_r50_seg3_f1s1.py",
    "i3d": "configs/I3D_RGB/i3d_kinetics400_3d_rgb_r50_c3d_inflate3x1x1_seg1_f32s2.py",
}


def build(request: Request) -> Contender:
    """Build the models of the rows in `CONFIGS`."""
    prepare(request)
    version = types.ModuleType("mmaction.version")  # written by its setup.py
    version.__version__ = version.short_version = "0.1"
    sys.modules["mmaction.version"] = version
    from mmaction.models import build_recognizer
    from mmcv import Config

    cfg = Config.fromfile(f"{request.checkout}/{CONFIGS[request.model]}")
    cfg.model.backbone.pretrained = None
    return recognizer(build_recognizer(cfg.model, train_cfg=cfg.train_cfg, test_cfg=cfg.test_cfg), clips(request))


answer(build)
