"""The folder of a MODEL: of a run, of a checkpoint, or of published weights."""

import json
from pathlib import Path
from shlex import quote
from typing import get_args

from kinema.errors import UserError
from kinema.storage import readable_folder
from kinema.tools import Source
from kinema.weights.names import DESCRIPTION, PIPELINE, WEIGHTS, is_exported
from kinema.weights.published.table import check_name, is_published


def find_model(model: str | Path) -> Path:
    """Return the folder of the model files that a MODEL names, or the exported file that it is.

    Args:
        model: a run, whose best checkpoint is taken or else its last; a folder of a checkpoint; a `model.safetensors`;
            published weights, `zoo:NAME` or `hf:ORG/NAME[@REVISION]`, which are downloaded the first time; or a file
            that `kinema export` wrote.

    Raises:
        UserError: there is no model, or it cannot be downloaded.
        StorageOutage: a server stopped answering.
    """
    if is_published(address := str(model)):
        check_name(address)  # before torch is imported
        from kinema.weights.published.models import published_model

        model = published_model(address)
    model = Path(model)
    if is_exported(model) and model.is_file():
        return model
    if model.suffix == ".safetensors":
        model = model.parent
    model = last_stage(model)
    # Read only: a run in progress recovers its folders itself.
    checkpoints = (readable_folder(model / "checkpoints" / name) for name in ("best", "last"))
    for folder in (readable_folder(model), *checkpoints):
        if (folder / DESCRIPTION).is_file() and (folder / WEIGHTS).is_file():
            return folder
    if model.is_file():
        folder = model.with_name(model.name.lstrip(".").partition(".")[0] or "model")
        raise UserError(
            f"{model} is not a Kinema model. If it is a checkpoint of another tool, convert it and pass the output "
            f"folder: kinema convert {quote(str(model))} --from {_tool(model)} --output {quote(str(folder))}"
        )
    fault = "does not exist" if not model.exists() else "holds no model.json with a model.safetensors beside it"
    raise UserError(
        f"{model} {fault}; pass a run's --work-dir, a folder of its checkpoints, a model.safetensors, "
        "or published weights (zoo:NAME, hf:ORG/NAME)"
    )


def last_stage(run: Path) -> Path:
    """Return the run of the stage that is a pipeline's model; any other path as it is."""
    try:
        stage = str(json.loads((run / PIPELINE).read_text(encoding="utf-8"))["model"])
    except OSError:
        stage = "pem"  # BSN by Kinema 0.1, or by one command for each stage
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{run / PIPELINE} is damaged: {error!r}") from error
    return run / stage if (run / stage).is_dir() else run


def _tool(checkpoint: Path) -> str:
    """Return the tool whose key names a checkpoint has, or all supported tools, joined by `|`."""
    from kinema.weights.foreign_files import read_foreign_weights, tools_of

    try:
        tools = tools_of(read_foreign_weights(checkpoint))
    except UserError:
        tools = {}
    sources: tuple[str, ...] = get_args(Source)
    return next((tool for tool in tools if tool in sources), "|".join(sources))
