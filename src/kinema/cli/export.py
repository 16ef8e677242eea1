"""`kinema export MODEL --format onnx|torch`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from kinema.cli.arguments import parse
from kinema.console import print_json
from kinema.deploy.options import ExportOptions
from kinema.weights.find import find_model

if TYPE_CHECKING:
    from kinema.deploy.export import Export


@dataclass(frozen=True, kw_only=True)
class Options(ExportOptions):
    """Export a model to one file, with the graph from pixels (or features) to scores, classes and sampling.

    The file is checked against the model before it is written. `kinema predict`, `test` and `localize` accept it
    as MODEL.
    """

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A run's --work-dir, a folder of its checkpoints, a model.safetensors, or published weights (zoo:NAME or
    hf:ORG/NAME)."""
    script: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write the program that runs the file without Kinema to this file, instead of printing it."""
    json: bool = False
    """Print JSON: {"file", "samples", "max_error", "top1_equal", "script", …}."""


def run(arguments: Sequence[str]) -> int:
    """Export and print."""
    options = parse(Options, arguments, command="export")
    find_model(options.model)  # says what is wrong before torch is imported
    from kinema.deploy.export import export
    from kinema.storage import write_text

    own = {field.name: getattr(options, field.name) for field in fields(ExportOptions)}
    exported = export(options.model, ExportOptions(**own))
    if options.script is not None:
        write_text(options.script, exported.script)
    if options.json:
        print_json({**_figures(exported), "script": exported.script}, indent=2)
        return 0
    _print(exported, options)
    return 0


def _figures(exported: "Export") -> dict[str, object]:
    figures: dict[str, object] = {"file": str(exported.file), **asdict(exported.agreement)}
    if exported.int8_metrics:
        figures |= {"metrics": exported.metrics, "int8_metrics": exported.int8_metrics}
    return figures


def _print(exported: "Export", options: Options) -> None:
    agreement = exported.agreement
    kind = "videos or clips of them" if options.check else "random samples"
    size = exported.file.stat().st_size / 2**20
    print(f"{exported.file}: {size:.1f} MiB")
    what = "before quantization, scores" if options.int8 else "scores"
    print(
        f"{what} differ from the model's by at most {agreement.max_error:.1e}, top-1 is equal for "
        f"{agreement.top1_equal} of {agreement.samples} ({kind})"
    )
    for name, value in exported.metrics.items():
        if name not in ("videos", "bad_files"):
            quantized = exported.int8_metrics[name]
            print(f"{name}: {value:.4f}, with 8 bits {quantized:.4f} ({quantized - value:+.4f})")
    if options.script is None:
        print(f"\n{exported.script}", end="")
