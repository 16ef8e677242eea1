"""Descriptions of trained recognizers."""

from functools import partial

from kinema.tasks.models import load_model, read_description
from kinema.tasks.recognition.options import RecognitionOptions

read_recognizer = partial(read_description, task=RecognitionOptions, expected="recognizer; pass one")
load_recognizer = partial(load_model, task=RecognitionOptions, expected="recognizer; pass one")
