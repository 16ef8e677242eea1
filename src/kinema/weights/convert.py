"""Conversion of other tools' checkpoints to Kinema's models, and of Kinema's models to MMAction2's checkpoints."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kinema.data.lists.class_names import read_class_names
from kinema.errors import UserError
from kinema.models import LocalizerOptions
from kinema.models.foreign import (
    ForeignOptions,
    Misfit,
    Source,
    foreign_misfits,
    foreign_state_dict,
    has_foreign,
    load_foreign_state_dict,
)
from kinema.models.recognizer import IMAGENET_MEAN, IMAGENET_STD
from kinema.models.resnet_names import is_of_pictures
from kinema.storage import replacing, replacing_folder
from kinema.storage.outputs import check_writable
from kinema.weights.fitting import (
    as_trained,
    check_source,
    disagreements,
    find_recipe,
    misfit_table,
    weights_for,
    with_backbone_prefix,
    with_clips,
    with_input,
)
from kinema.weights.foreign_configs import Trained, read_config
from kinema.weights.foreign_files import read_foreign_checkpoint
from kinema.weights.model_files import AnyDescription, Origin, check_finite, save_model

log = logging.getLogger(__name__)


def convert(
    checkpoint: Path,
    folder: Path,
    candidates: Mapping[str, AnyDescription],
    *,
    source: Source,
    further: Sequence[Path] = (),
    classes: Path | Sequence[str] | None = None,
    allow_missing: Sequence[str] = (),
    origin: Origin | None = None,
) -> AnyDescription:
    """Convert another tool's checkpoint to a model folder, as training writes it.

    Args:
        checkpoint: file of the tool, see `read_foreign_checkpoint`.
        folder: output folder; a model in it is replaced.
        candidates: descriptions by recipe. A single one must fit the weights; of several, the one that fits is used.
        source: tool that the keys are of.
        further: files with other weights of the same model.
        classes: names of the classes, or a file with one per line. Default: Kinetics-400's and ImageNet's names from
            torchvision where recipe and number of classes match, else numbers.
        allow_missing: patterns (`*` and `?` as in a shell) of keys that may be missing in the checkpoint, whose
            weights stay random, or in the model.
        origin: where the weights are published, for `model.json`.

    Returns:
        The description that was written.

    Raises:
        UserError: the file is no checkpoint, fits no recipe or several, or has missing, unknown or misshaped keys; the
            number of class names differs from that of classes; the folder holds other files, or cannot be written.
    """
    _check_free(folder)
    found = read_foreign_checkpoint(checkpoint)
    weights = with_backbone_prefix(found.weights, source)
    for path in further:
        more = read_foreign_checkpoint(path).weights
        if both := sorted(weights.keys() & more.keys()):
            raise UserError(f"{path} has weights that {checkpoint} has, too: {', '.join(both[:3])}")
        weights |= more
    check_source(weights, source, path=str(checkpoint))
    check_finite(weights, origin=str(checkpoint))
    trained = read_config(found.config, source, path=str(checkpoint))
    if len(candidates) > 1:
        recipe = find_recipe(weights, candidates, source=source, path=str(checkpoint), trained=trained)
        log.info("recipe: %s, the only one with this network and its classes", recipe)
    else:
        (recipe,) = candidates
        advice = ". Without --recipe the one that fits is taken"
        _check_network(checkpoint, recipe, candidates[recipe], source, trained, advice=advice)
    _warn_of_differences(checkpoint, candidates[recipe], source, trained)
    described = _with_clips(candidates[recipe], trained)
    options = as_trained(described.model, weights, source, trained)
    if options.num_classes != (ours := described.model.num_classes):
        log.info("%d classes, as the weights have them (the recipe has %d)", options.num_classes, ours)
    of_pictures = source == "timm" or is_of_pictures(weights, source)
    if classes is None and len(trained.classes) == options.num_classes:
        classes = trained.classes
    names = _class_names(classes, options.num_classes, recipe, of_pictures=of_pictures)
    described = replace(with_input(described, options), model=options, classes=names)
    where = f"{checkpoint} and the model of {recipe}"
    _write(
        folder, described, weights,
        source=source, trained=trained, allow_missing=allow_missing, where=where, origin=origin,
    )  # fmt: skip
    return described


def _check_network(
    checkpoint: Path, recipe: str, described: AnyDescription, source: Source, trained: Trained, *, advice: str = ""
) -> None:
    """Check that a checkpoint's tool and configuration are of a recipe's network.

    Raises:
        UserError: they are not.
    """
    if faults := disagreements(described.model, source, trained):
        raise UserError(f"{checkpoint} is not of the network of {recipe}: {'; '.join(faults)}{advice}")


def _warn_of_differences(checkpoint: Path, described: AnyDescription, source: Source, trained: Trained) -> None:
    """Warn of options that are taken from the recipe, and of what Kinema does in another way."""
    assumed = described.model
    if not trained.network and isinstance(assumed, ForeignOptions) and (names := assumed.not_shown(source)):
        values = ", ".join(f"{name} {getattr(assumed, name)}" for name in names)
        log.warning("%s has no configuration with %s: check that the weights were trained so", checkpoint, values)
    for note in trained.notes:
        log.warning("%s: %s; scores of videos will differ", checkpoint, note)


def _with_clips(recipe: AnyDescription, trained: Trained) -> AnyDescription:
    """Return the recipe's description with the clips of a checkpoint's configuration, and log them."""
    described = with_clips(recipe, trained)
    if described != recipe:
        sampling, task = described.data.test_views.sampling, described.task
        log.info(
            "as the checkpoint was trained, unlike the recipe: clips of %dx%d%s, %d of a video; labels %s, average %s",
            sampling.clip_len, sampling.frame_interval,
            " from the first frame to the last" if sampling.spread else "",
            sampling.num_clips, task.labels, task.average,
        )  # fmt: skip
    return described


def convert_localizer(
    checkpoint: Path,
    folder: Path,
    candidates: Mapping[str, AnyDescription],
    *,
    source: Source = "mmaction2",
    classes: Path | None = None,
    allow_missing: Sequence[str] = (),
    origin: Origin | None = None,
) -> bool:
    """Convert another tool's checkpoint of a localizer to a model folder.

    Of detectors, the averaged weights are taken if there are any: their tools test with these.

    Args:
        checkpoint, folder, source, allow_missing, origin: see `convert`.
        classes: file with one class name per line, of a network that tells classes apart. Default: numbers.
        candidates: see `convert`.

    Returns:
        Whether the weights are a localizer's; False, and nothing is written, if none of several candidates fits.

    Raises:
        UserError: see `convert`.
    """
    found = read_foreign_checkpoint(checkpoint, averaged=source != "mmaction2")
    misfits: dict[str, list[Misfit]] = {}
    for recipe, candidate in candidates.items():
        described = replace(candidate, model=_of_source(candidate.model, found.weights, source))
        with torch.device("meta"):
            network = described.model.build()
        if not has_foreign(network, source):
            continue
        misfits[recipe] = foreign_misfits(network, found.weights, source=source)
        if misfits[recipe] and len(candidates) > 1:
            continue
        _check_free(folder)
        check_finite(found.weights, origin=str(checkpoint))
        trained = read_config(found.config, source, path=str(checkpoint))
        _check_network(checkpoint, recipe, described, source, trained)
        if source != "mmaction2":
            _warn_of_differences(checkpoint, described, source, trained)
        described = _with_class_names(described, classes, recipe)
        log.info("recipe: %s", recipe)
        theirs, ours = described.model.feature_channels, candidate.model.feature_channels
        if theirs != ours:
            log.info("features of %d channels, as the weights have them (the recipe has %d)", theirs, ours)
        where = f"{checkpoint} and the model of {recipe}"
        _write(
            folder, described, found.weights,
            source=source, allow_missing=allow_missing, where=where, origin=origin,
        )  # fmt: skip
        return True
    nearest = min(misfits, key=lambda recipe: len(misfits[recipe]), default="")
    if nearest and len(misfits[nearest]) < len(found.weights):  # some weights are a localizer's
        _check_fit(misfits[nearest], allow_missing, f"{checkpoint} and the model of {nearest}, the nearest recipe,")
    return False


def convert_pretraining(
    checkpoint: Path,
    folder: Path,
    recipe: str,
    described: AnyDescription,
    *,
    source: Source,
    allow_missing: Sequence[str],
) -> None:
    """Convert another tool's checkpoint of pre-training, decoder and all, to a model folder.

    Args:
        checkpoint, folder, source, allow_missing: see `convert`.
        recipe: name of the recipe, for messages.
        described: its description.

    Raises:
        UserError: see `convert`.
    """
    _check_free(folder)
    found = read_foreign_checkpoint(checkpoint)
    check_source(found.weights, source, path=str(checkpoint))
    check_finite(found.weights, origin=str(checkpoint))
    where = f"{checkpoint} and the model of {recipe}"
    _write(folder, described, found.weights, source=source, allow_missing=allow_missing, where=where)


def _of_source(options: LocalizerOptions, weights: Mapping[str, Tensor], source: Source) -> LocalizerOptions:
    return options.of_source(weights, source) if isinstance(options, ForeignOptions) else options


def _with_class_names(described: AnyDescription, classes: Path | None, recipe: str) -> AnyDescription:
    """Return the description of a localizer with the names of its classes, if it tells any apart."""
    count = getattr(described.model, "num_classes", 1)
    if count == 1 and classes is None:
        return described
    return replace(described, classes=_class_names(classes, count, recipe, of_pictures=False))


def _write(
    folder: Path,
    described: AnyDescription,
    weights: Mapping[str, Tensor],
    *,
    source: Source,
    allow_missing: Sequence[str],
    where: str,
    trained: Trained | None = None,
    origin: Origin | None = None,
) -> None:
    """Write a model with another tool's weights."""
    model = described.model.build()
    fitted = weights_for(model, weights, source, trained)
    _check_fit(foreign_misfits(model, fitted, source=source), allow_missing, where)
    load_foreign_state_dict(model, fitted, source=source, allow_missing=allow_missing)
    try:
        with replacing_folder(folder) as new:
            save_model(new, model.state_dict(), described, origin=origin)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error}") from error


def _check_fit(misfits: Sequence[Misfit], allowed: Sequence[str], where: str) -> None:
    faults = [misfit for misfit in misfits if not any(fnmatchcase(misfit.key, pattern) for pattern in allowed)]
    if faults:
        raise UserError(
            f"{where} do not fit each other in {len(faults)} keys; "
            f"--allow-missing PATTERN allows those that are meant to differ:\n{misfit_table(faults)}"
        )
    if misfits:
        log.warning("%d keys do not fit, as --allow-missing allows:\n%s", len(misfits), misfit_table(misfits))


def convert_to_mmaction2(module: Any, options: Any, file: Path) -> None:
    """Write a model's weights as a checkpoint that MMAction2 loads, 0.x and 1.x: `{"state_dict": …, "meta": {}}`.

    Args:
        module: network.
        options: its options.
        file: checkpoint to write.

    Raises:
        UserError: MMAction2 has no such network, or the file cannot be written.
    """
    unsupported = options.unsupported("mmaction2") if isinstance(options, ForeignOptions) else []
    if unsupported:
        raise UserError(f"the model cannot be a checkpoint of MMAction2: {'; '.join(unsupported)}")
    mean, std = getattr(options, "mean", IMAGENET_MEAN), getattr(options, "std", IMAGENET_STD)
    if (mean, std) != (IMAGENET_MEAN, IMAGENET_STD):
        log.warning("MMAction2 takes normalization from its config: set mean=%s, std=%s there", list(mean), list(std))
    if getattr(options, "window", 0):
        log.warning(
            "MMAction2 averages the features of a whole crop: of crops larger than those trained on, scores differ"
        )
    _write_checkpoint(file, foreign_state_dict(module, source="mmaction2"))


def _write_checkpoint(file: Path, weights: Mapping[str, Tensor]) -> None:
    check_writable(file)
    content: dict[str, object] = {"state_dict": dict(weights), "meta": {}}
    try:
        with replacing(file) as temporary, temporary.open("wb") as stream:
            torch.save(content, stream)
    except OSError as error:
        raise UserError(f"{file} cannot be written: {error.strerror or error}") from error
    except RuntimeError as error:  # torch raises it where writing fails
        raise UserError(f"{file} cannot be written: {error}") from error


def _class_names(given: Path | Sequence[str] | None, count: int, recipe: str, *, of_pictures: bool) -> tuple[str, ...]:
    if given is not None:
        names = read_class_names(given) if isinstance(given, Path) else tuple(given)
        if len(names) != count:
            origin = given if isinstance(given, Path) else "the checkpoint's configuration"
            raise UserError(f"{origin} names {len(names)} classes, but the weights have {count}")
        return names
    if count == 400 and "kinetics400" in recipe:
        log.info("class names: Kinetics-400's in alphabetical order, as torchvision has them")
        from torchvision.models.video import R2Plus1D_18_Weights

        return tuple(R2Plus1D_18_Weights.KINETICS400_V1.meta["categories"])
    if count == 1000 and of_pictures:
        log.info("class names: ImageNet's, as torchvision has them")
        from torchvision.models import ResNet50_Weights

        return tuple(ResNet50_Weights.IMAGENET1K_V1.meta["categories"])
    log.info("class names: the numbers 0 to %d; --classes FILE gives others", count - 1)
    return tuple(map(str, range(count)))


def _check_free(folder: Path) -> None:
    """Check that a folder is new, or holds nothing but a model."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; --output names a folder for the model")
    others = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    if others := [name for name in others if name not in ("model.json", "model.safetensors")]:
        found = ", ".join(sorted(others)[:3])
        raise UserError(f"{folder} holds other files ({found}): choose a new folder for the model")
