"""Protocols of measurement, by the values of options."""

from typing import Literal

Protocol = Literal["activitynet", "thumos14"]

FrameProtocol = Literal["charades", "multithumos"]
