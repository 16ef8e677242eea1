"""PySlowFast's models and optimizer, built from the configs of a checkout."""

import sys
import types
from pathlib import Path

import torch
from plain_torch import clips, prepare, recognizer
from protocol import Contender, Request, answer

CONFIGS = {
    "i3d_8x8": "I3D_8x8_R50.yaml",
    "i3d_heavy": "I3D_8x8_R50.yaml",
    "slowonly": "SLOW_4x16_R50.yaml",
    "slowfast": "SLOWFAST_4x16_R50.yaml",
}


def build(request: Request) -> Contender:
    """Build the models of the rows in `CONFIGS`."""
    prepare(request)
    notes = _install_stubs()
    from slowfast.config.defaults import get_cfg
    from slowfast.models import build_model
    from slowfast.models import optimizer as optim

    cfg = get_cfg()
    cfg.merge_from_file(str(Path(request.checkout) / "configs/Kinetics" / CONFIGS[request.model]))
    cfg.NUM_GPUS = torch.cuda.device_count() and 1
    cfg.DATA.TRAIN_CROP_SIZE = cfg.DATA.TEST_CROP_SIZE = request.shape[-1]
    cfg.SOLVER.MOMENTUM, cfg.SOLVER.NESTEROV = 0.9, False
    model = build_model(cfg)
    fast = clips(request)
    alpha = cfg.SLOWFAST.ALPHA
    inputs = [fast[:, :, ::alpha].contiguous(), fast] if request.model == "slowfast" else [fast]
    if request.model == "i3d_heavy":
        notes.append("its I3D 8x8 has 28.0 M parameters and is another model than I3D heavy")
    return recognizer(model, inputs, optimizer=optim.construct_optimizer(model, cfg), notes=notes)


def _install_stubs() -> list[str]:
    """Install stubs of modules that PySlowFast imports but these models do not need."""
    import pytorchvideo.layers.distributed as distributed

    _module("detectron2")
    _module("detectron2.layers", ROIAlign=object)
    _module("pytorchvideo.losses")
    _module("pytorchvideo.losses.soft_target_cross_entropy", SoftTargetCrossEntropyLoss=torch.nn.CrossEntropyLoss)
    own = ("PTVCSN", "PTVX3D", "PTVR2plus1D", "PTVResNet", "PTVSlowFast", "PTVMViT")
    _module("slowfast.models.ptv_model_builder", **dict.fromkeys(own))
    lacking = "cat_all_gather get_local_process_group get_local_rank get_local_size init_distributed_training"
    for name in lacking.split():
        if not hasattr(distributed, name):
            setattr(distributed, name, None)
    return [
        "PySlowFast imports detectron2 for detection, and parts of pytorchvideo that its release 0.1.5 lacks, for "
        "contrastive learning and pytorchvideo's own models: these are replaced by stubs"
    ]


def _module(name: str, **contents: object) -> None:
    module = types.ModuleType(name)
    vars(module).update(contents)
    sys.modules[name] = module


answer(build)
