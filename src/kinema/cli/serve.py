"""`kinema serve MODEL`."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import tyro

from kinema.cli.arguments import parse
from kinema.serve.options import ServeOptions
from kinema.weights.find import find_model


@dataclass(frozen=True, kw_only=True)
class Options(ServeOptions):
    """Serve a recognizer: a page to drop or record videos on, and a JSON API (POST /api/predict, GET /docs).

    Uploads are kept in a temporary folder until they are answered. Ctrl-C ends the server.
    """

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A run's --work-dir, a folder of its checkpoints, a model.safetensors, an exported .onnx or .pt2, or published
    weights (zoo:NAME or hf:ORG/NAME)."""
    recipe: Annotated[str, tyro.conf.arg(metavar="RECIPE")] = ""
    """my_file.py:function, if the file of MODEL's own task or network has moved since training."""


def run(arguments: Sequence[str]) -> int:
    """Serve until the process is asked to end."""
    options = parse(Options, arguments, command="serve")
    find_model(options.model)  # says what is wrong before torch is imported
    from kinema.serve.run import serve

    own = {field.name: getattr(options, field.name) for field in fields(ServeOptions)}
    serve(options.model, ServeOptions(**own), recipe=options.recipe)
    return 0
