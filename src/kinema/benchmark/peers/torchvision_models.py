"""torchvision's R(2+1)D-18, and its ResNet-50 as a TSN: logits averaged over frames."""

import torchvision
from plain_torch import clips, prepare, recognizer
from protocol import Contender, Request, answer
from torch import Tensor, nn


class _OverFrames(nn.Module):
    """ResNet-50 with dropout on each frame; logits are averaged over frames."""

    def __init__(self) -> None:
        super().__init__()
        self.network = torchvision.models.resnet50(weights=None)
        self.network.fc = nn.Sequential(nn.Dropout(0.4), nn.Linear(2048, 400))

    def forward(self, frames: Tensor) -> Tensor:
        """(N, C, T, H, W) → (N, classes)."""
        count, _, segments = frames.shape[:3]
        logits = self.network(frames.transpose(1, 2).flatten(0, 1))
        return logits.unflatten(0, (count, segments)).mean(1)


def build(request: Request) -> Contender:
    """Build the models of the rows tsn and r2plus1d_18."""
    prepare(request)
    notes = []
    if request.model == "tsn":
        model: nn.Module = _OverFrames()
        notes.append("torchvision has no TSN: its ResNet-50 is applied to each frame and logits are averaged")
    else:
        model = torchvision.models.video.r2plus1d_18(weights=None)
        model.fc = nn.Linear(512, 400)
    contender = recognizer(model, clips(request), notes=notes)
    contender.versions["torchvision"] = torchvision.__version__
    return contender


answer(build)
