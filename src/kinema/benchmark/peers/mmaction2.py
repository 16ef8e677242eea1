"""MMAction2 1.2.0: models, losses, preprocessing and optimizers of its configs, run by its `train_step`."""

import sys
import types
from pathlib import Path

import torch
from plain_torch import device, on_torch, prepare
from protocol import Contender, Request, answer

CONFIGS = {
    "tsn": "recognition/tsn/tsn_imagenet-pretrained-r50_8xb32-1x1x3-100e_kinetics400-rgb.py",
    "tsm": "recognition/tsm/tsm_imagenet-pretrained-r50_8xb16-1x1x8-50e_kinetics400-rgb.py",
    "i3d": "recognition/i3d/i3d_imagenet-pretrained-r50_8xb8-32x2x1-100e_kinetics400-rgb.py",
    "i3d_heavy": "recognition/i3d/i3d_imagenet-pretrained-r50-heavy_8xb8-32x2x1-100e_kinetics400-rgb.py",
    "slowonly": "recognition/slowonly/slowonly_r50_8xb16-4x16x1-256e_kinetics400-rgb.py",
    "slowfast": "recognition/slowfast/slowfast_r50_8xb8-4x16x1-256e_kinetics400-rgb.py",
    "r2plus1d": "recognition/r2plus1d/r2plus1d_r34_8xb8-8x8x1-180e_kinetics400-rgb.py",
    "bmn": "localization/bmn/bmn_2xb8-400x100-9e_activitynet-feature.py",
    "tem": "localization/bsn/bsn_tem_1xb16-400x100-20e_activitynet-feature.py",
    "pem": "localization/bsn/bsn_pem_1xb16-400x100-20e_activitynet-feature.py",
}


def build(request: Request) -> Contender:
    """Build the models of the rows in `CONFIGS`."""
    prepare(request)
    notes = _import_mmaction()
    import mmaction
    from mmaction.registry import MODELS
    from mmengine.config import Config
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import init_default_scope

    init_default_scope("mmaction")
    cfg = Config.fromfile(str(Path(mmaction.__file__).parent / ".mim/configs" / CONFIGS[request.model]))
    if "backbone" in cfg.model:
        cfg.model.backbone.pretrained = None  # takes the same time without a download
    model = MODELS.build(cfg.model).to(device()).train()
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    data = _batch(request)
    inputs = model.data_preprocessor(data, True)["inputs"] if "backbone" in cfg.model else torch.stack(data["inputs"])
    contender = on_torch(lambda: model.train_step(data, wrapper), model, inputs, notes)
    contender.infer = lambda: _infer(model, inputs.to(device()), recognizer="backbone" in cfg.model)
    contender.versions |= {"mmaction2": mmaction.__version__, "mmengine": sys.modules["mmengine"].__version__}
    return contender


def _infer(model: torch.nn.Module, inputs: torch.Tensor, *, recognizer: bool) -> None:
    model.eval()
    with torch.no_grad():
        if recognizer:
            feature, _ = model.extract_feat(inputs, test_mode=True)
            model.cls_head(feature, num_segs=inputs.shape[1])
        else:
            model._forward(inputs)
    model.train()


def _batch(request: Request) -> dict[str, list[object]]:
    """Batch of its loaders: uint8 clips (views, C, T, H, W) or (segments, C, H, W), or features; with labels."""
    from mmaction.structures import ActionDataSample
    from mmengine.structures import InstanceData

    samples, inputs = [], []
    for number in range(request.shape[0]):
        sample = ActionDataSample()
        if request.model in ("bmn", "tem"):
            begin = 0.1 + 0.05 * (number % 8)
            sample.gt_instances = InstanceData(gt_bbox=torch.tensor([[begin, begin + 0.4]]))
            inputs.append(torch.randn(request.shape[1:]))
        elif request.model == "pem":
            overlap = torch.rand(request.shape[1])
            sample.gt_instances = InstanceData(reference_temporal_iou=overlap)
            sample.gt_instances.bsp_feature = torch.randn(request.shape[1:])
            inputs.append(torch.randn(request.shape[1:]))
        else:
            sample.set_gt_label(number * 7 % 400)
            clip = torch.randint(256, request.shape[1:], dtype=torch.uint8)
            inputs.append(clip.transpose(0, 1) if request.model in ("tsn", "tsm") else clip[None])
        samples.append(sample)
    return {"inputs": inputs, "data_samples": samples}


def _import_mmaction() -> list[str]:
    """Work around what prevents the import of the package; returns notes on it."""
    import mmcv

    notes = []
    if tuple(map(int, mmcv.__version__.split(".")[:2])) >= (2, 2):
        notes.append(f"mmaction2 asserts mmcv < 2.2.0: {mmcv.__version__} is presented as 2.1.0")
        mmcv.__version__ = "2.1.0"
    for name in ("mmaction.models.localizers.drn", "mmaction.models.localizers.drn.drn"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules[name].DRN = type("DRN", (), {})
    notes.append("the wheel of mmaction2 1.2.0 lacks mmaction.models.localizers.drn, which is replaced by a stub")
    return notes


answer(build)
