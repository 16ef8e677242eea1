"""Models of published weights: from an address to a converted model in the cache."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kinema.addresses import load_address
from kinema.errors import UserError
from kinema.storage import replacing_folder
from kinema.weights.convert import convert, convert_localizer
from kinema.weights.model_files import Origin, read_origin, write_pipeline
from kinema.weights.published.cache import cache_folder, locked
from kinema.weights.published.download import download
from kinema.weights.published.table import ZOO, Published, find_published, read_table, recipe_of

log = logging.getLogger(__name__)

Rows = Mapping[str, Published]


def published_model(model: str, *, rows: Rows | None = None) -> Path:
    """Return the folder of a converted model, which is downloaded and converted the first time.

    Args:
        model: `zoo:NAME`.
        rows: published weights by name. Default: the table of the package.

    Raises:
        UserError: there are no such weights, they cannot be downloaded, or they are others than were published.
        StorageOutage: the server stopped answering; the part that was received is kept.
    """
    rows = read_table() if rows is None else rows
    name = model.removeprefix(ZOO)
    row = find_published(name, rows)
    recipe = recipe_of(name, row)
    folder = cache_folder() / "zoo" / (recipe + row.name.removeprefix(row.recipe))
    if not _is_current(folder, row, rows):
        with locked(folder, doing=f"preparing {model}"):
            if not _is_current(folder, row, rows):
                _prepare(folder, row, rows, recipe=recipe, model=model)
    return folder


def _is_current(folder: Path, row: Published, rows: Rows) -> bool:
    """Return whether a folder has the model of a row, as the table of this version has it."""
    if row.parts:
        return all(_is_current(folder / stage, rows[part], rows) for stage, part in row.parts.items())
    origin = read_origin(folder)
    return origin is not None and origin.urls == _urls(row) and origin.sha256[0].startswith(row.sha256)


def _urls(row: Published) -> tuple[str, ...]:
    return tuple(url for url in (row.url, row.further) if url)


def _prepare(folder: Path, row: Published, rows: Rows, *, recipe: str, model: str) -> None:
    if not row.parts:
        _convert(row, folder, recipe=recipe, model=model)
        return
    log.info("%s is of %d stages: %s", model, len(row.parts), ", ".join(row.parts.values()))
    try:
        with replacing_folder(folder) as new:
            for stage, part in row.parts.items():
                _convert(rows[part], new / stage, recipe=rows[part].recipe, model=model)
            write_pipeline(new, model=[*row.parts][-1])
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}") from error


def _convert(row: Published, folder: Path, *, recipe: str, model: str) -> None:
    """Download and convert the weights of one network."""
    hashes = (row.sha256, "")  # of the further files none is published
    files = [download(url, sha256=hashes[k], wanted_by=model) for k, url in enumerate(_urls(row))]
    origin = Origin(urls=_urls(row), sha256=tuple(file.sha256 for file in files))
    checkpoint, *further = (file.path for file in files)
    description = _config(recipe, row.options).describe()
    if hasattr(description.model, "feature_channels"):
        convert_localizer(checkpoint, folder, {recipe: description}, origin=origin)
    else:
        convert(checkpoint, folder, {recipe: description}, source=row.tool, further=further, origin=origin)


def _config(recipe: str, options: Mapping[str, str]) -> Any:
    # By address: recipes are above this layer, as they are made of tasks, and tasks open models.
    return load_address("kinema.recipes:config_of", what="function")(recipe, options)
