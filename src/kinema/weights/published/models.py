"""Models of published weights: from an address to a converted model in the cache."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kinema import strict_json
from kinema.addresses import load_address
from kinema.errors import UserError
from kinema.models.foreign import Source
from kinema.storage import replacing_folder
from kinema.weights.convert import convert, convert_localizer
from kinema.weights.foreign_configs import read_config
from kinema.weights.model_files import AnyDescription, Origin, read_origin, write_pipeline
from kinema.weights.published.cache import cache_folder, locked
from kinema.weights.published.download import download
from kinema.weights.published.hub import HubFiles, hub_files
from kinema.weights.published.table import HUB, ZOO, Published, find_published, read_table, recipe_of

log = logging.getLogger(__name__)

_TIMM = "tsn_mobilenetv4_1x1x8_small"
"""Recipe that image classifiers of timm become the backbone of."""

Rows = Mapping[str, Published]


def published_model(model: str, *, rows: Rows | None = None) -> Path:
    """Return the folder of a converted model, which is downloaded and converted the first time.

    Args:
        model: `zoo:NAME` or `hf:ORG/NAME[@REVISION]`.
        rows: published weights by name. Default: the table of the package.

    Raises:
        UserError: there are no such weights, they cannot be downloaded, or they are others than were published.
        StorageOutage: the server stopped answering; the part that was received is kept.
    """
    if model.startswith(HUB):
        return _hub_model(model)
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
    if row.url.startswith(HUB):
        _convert_hub(hub_files(row.url), folder, _config(recipe, row.options).describe(), row.tool, url=row.url)
        return
    hashes = (row.sha256, "")  # of the further files none is published
    files = [download(url, sha256=hashes[k], wanted_by=model) for k, url in enumerate(_urls(row))]
    origin = Origin(urls=_urls(row), sha256=tuple(file.sha256 for file in files))
    checkpoint, *further = (file.path for file in files)
    description = _config(recipe, row.options).describe()
    if hasattr(description.model, "feature_channels"):
        convert_localizer(checkpoint, folder, {recipe: description}, origin=origin)
    else:
        convert(checkpoint, folder, {recipe: description}, source=row.tool, further=further, origin=origin)


def _hub_model(model: str) -> Path:
    """Return the folder of a converted model of the Hugging Face hub, see `published_model`."""
    folder = cache_folder().joinpath("hf", *model.removeprefix(HUB).split("/"))
    with locked(folder, doing=f"preparing {model}"):
        origin = read_origin(folder)
        if origin is None or origin.urls != (model,):
            files = hub_files(model)
            described, tool = _recipe_of(files, model)
            log.info("recipe: %s, the nearest of this network", described.recipe)
            _convert_hub(files, folder, described, tool, url=model)
    return folder


def _recipe_of(files: HubFiles, model: str) -> tuple[AnyDescription, Source]:
    """Return the description of the recipe that is nearest to a configuration of the hub, and the tool it is of."""
    if "architecture" in files.config and "model_type" not in files.config:
        return _config(_TIMM, {"model.backbone": f"timm:{files.config['architecture']}"}).describe(), "timm"
    trained = read_config(strict_json.dumps(files.config), "transformers", path=model)
    classes = len(files.config.get("id2label", ()))
    configs: dict[str, Any] = load_address("kinema.recipes:recognizers_of", what="function")(trained.network)

    def likeness(recipe: str) -> tuple[bool, int]:
        options = configs[recipe].model
        alike = sum(getattr(options, name) == value for name, value in trained.taken.items())
        return options.num_classes == classes, alike

    return configs[max(configs, key=likeness)].describe(), "transformers"


def _convert_hub(files: HubFiles, folder: Path, described: AnyDescription, tool: Source, *, url: str) -> None:
    checkpoint, *further = files.weights
    origin = Origin(urls=(url,), sha256=files.sha256, revision=files.revision)
    convert(checkpoint, folder, {described.recipe: described}, source=tool, further=further, origin=origin)


def _config(recipe: str, options: Mapping[str, str]) -> Any:
    # By address: recipes are above this layer, as they are made of tasks, and tasks open models.
    return load_address("kinema.recipes:config_of", what="function")(recipe, options)
