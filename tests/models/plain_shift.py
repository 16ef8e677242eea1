"""The temporal shift of TSM written plainly."""

from torch import Tensor, nn


class PlainShift(nn.Module):
    """Figure 1 of the paper: of 4 frames, an eighth of the channels from the next one, and from the previous one."""

    def forward(self, x: Tensor) -> Tensor:
        clips, fold = x.unflatten(0, (-1, 4)), x.shape[1] // 8
        shifted = clips.clone()
        shifted[:, :, : 2 * fold] = 0
        shifted[:, :3, :fold] = clips[:, 1:, :fold]
        shifted[:, 1:, fold : 2 * fold] = clips[:, :3, fold : 2 * fold]
        return shifted.flatten(0, 1)
