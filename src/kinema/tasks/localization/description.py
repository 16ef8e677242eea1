"""Descriptions of trained localizers."""

from functools import partial

from kinema.tasks.localization.options import LocalizerOptions
from kinema.tasks.models import load_model, read_description

read_localizer = partial(read_description, task=LocalizerOptions, expected="localizer; pass a BMN, TEM or PEM")
load_localizer = partial(load_model, task=LocalizerOptions, expected="localizer; pass a BMN, TEM or PEM")
