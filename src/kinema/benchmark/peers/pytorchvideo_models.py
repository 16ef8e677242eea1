"""pytorchvideo's SlowOnly, SlowFast and I3D, built as by its hub."""

import sys
import types

import torchvision.transforms.functional as functional
from plain_torch import clips, prepare, recognizer
from protocol import Contender, Request, answer

NOTES = [
    "pytorchvideo 0.1.5 imports torchvision.transforms.functional_tensor, which torchvision 0.17 removed: it is "
    "replaced by torchvision.transforms.functional"
]


def build(request: Request) -> Contender:
    """Build the models of the rows slowonly, slowfast and i3d_8x8."""
    prepare(request)
    stub = types.ModuleType("torchvision.transforms.functional_tensor")
    stub.__dict__.update(vars(functional))
    sys.modules["torchvision.transforms.functional_tensor"] = stub
    import pytorchvideo
    from pytorchvideo.models import create_resnet, create_slowfast
    from pytorchvideo.models.hub.resnet import i3d_r50

    fast = clips(request)
    if request.model == "slowonly":
        model = create_resnet(
            input_channel=3, model_depth=50, model_num_class=400, stem_conv_kernel_size=(1, 7, 7), dropout_rate=0.5,
            head_pool_kernel_size=(4, 7, 7), head_activation=None,
        )  # fmt: skip
        inputs = fast
    elif request.model == "slowfast":
        # 32 frames; the slow pathway takes every eighth, as in the benchmark's 4x16.
        model = create_slowfast(
            slowfast_channel_reduction_ratio=(8,), slowfast_conv_channel_fusion_ratio=2, model_num_class=400,
            slowfast_fusion_conv_kernel_size=(5, 1, 1), slowfast_fusion_conv_stride=(8, 1, 1),
            head_pool_kernel_sizes=((4, 7, 7), (32, 7, 7)),
        )  # fmt: skip
        inputs = [fast[:, :, ::8].contiguous(), fast]
    else:
        model = i3d_r50(pretrained=False, head_activation=None)
        inputs = fast
    contender = recognizer(model, inputs, notes=NOTES)
    contender.versions["pytorchvideo"] = pytorchvideo.__version__
    return contender


answer(build)
