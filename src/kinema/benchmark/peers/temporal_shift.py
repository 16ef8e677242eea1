"""TSN and TSM with the parameter groups of the temporal-shift-module repository, from a checkout."""

import torch
from plain_torch import clips, prepare, recognizer
from protocol import Contender, Request, answer


def build(request: Request) -> Contender:
    """Build the models of the rows tsn and tsm."""
    prepare(request)
    from ops.models import TSN

    batch, channels, segments, height, width = request.shape
    model = TSN(
        400, segments, "RGB", base_model="resnet50", consensus_type="avg", dropout=0.5, partial_bn=False,
        pretrain="", is_shift=request.model == "tsm", shift_div=8, shift_place="blockres", print_spec=False,
    )  # fmt: skip
    # Its loader concatenates the frames of a video along the channels.
    frames = clips(request).transpose(1, 2).reshape(batch, segments * channels, height, width).contiguous()
    groups = model.get_optim_policies()
    for group in groups:
        group["lr"], group["weight_decay"] = 0.01 * group["lr_mult"], 1e-4 * group["decay_mult"]
    optimizer = torch.optim.SGD(groups, 0.01, momentum=0.9, weight_decay=1e-4)
    return recognizer(model, frames, optimizer=optimizer, clip_norm=20.0)


answer(build)
