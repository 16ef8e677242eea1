"""pytorchvideo's SlowOnly, SlowFast and I3D, from its hub's builders."""

import sys
import types

import torchvision.transforms.functional as functional
from plain_torch import clips, prepare, recognizer
from protocol import Contender, Request, answer

NOTES = [
    "pytorchvideo 0.1.5 imports torchvision.transforms.functional_tensor, which torchvision ≥ 0.17 has no more: a "
    "module of that name that leads to torchvision.transforms.functional is put in its place"
]


def build(request: Request) -> Contender:
    """Of the rows slowonly, slowfast and i3d_8x8."""
    prepare(request)
    stand_in = types.ModuleType("torchvision.transforms.functional_tensor")
    stand_in.__dict__.update(vars(functional))
    sys.modules["torchvision.transforms.functional_tensor"] = stand_in
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
        # 32 frames, of which the slow pathway sees every eighth: what the benchmark's 4x16 means.
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
