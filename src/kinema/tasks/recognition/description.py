"""Descriptions of trained recognizers."""

from functools import partial

from kinema.tasks.models import load_model, read_description
from kinema.tasks.recognition.settings import RecognitionSettings

read_recognizer = partial(read_description, task=RecognitionSettings, expected="recognizer; pass one")
load_recognizer = partial(load_model, task=RecognitionSettings, expected="recognizer; pass one")
