"""`kinema benchmark compare MODEL…`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from kinema import strict_json
from kinema.benchmark.options import CompareOptions
from kinema.cli.arguments import parse, split
from kinema.errors import UserError
from kinema.recipes import config_of
from kinema.storage import write_text


@dataclass(kw_only=True)
class Options(CompareOptions):
    """Time training steps of Kinema and other toolboxes alternately, on the same models and batches, without loading.

    Peers: MMAction2, MMAction, the Temporal-Shift-Module, PySlowFast, pytorchvideo, torchvision, BSN, JJBOY's BMN, in
    virtual environments that --set-up creates. All options of Kinema's recipes can be set by dotted key.
    """

    models: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")] = ()
    """tsn, i3d_heavy, i3d_8x8, i3d, tsm, slowonly, slowfast, r2plus1d, tem, pem, bmn; none: all."""
    set_up: bool = False
    """Create or complete the virtual environments of the peers first."""
    work_dir: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path("runs/benchmark")
    """Output folder: compare_MODEL.json for each model, and compare.md."""
    json: bool = False
    """Print JSON: [{"row", "results": {"Kinema": {"s_per_iter", "infer_s", "memory_gib", "ratio", …}, …}}]; times in
    seconds, "ratio" relative to Kinema in fp32. A peer that cannot run has its error as "fault"."""


def run(arguments: Sequence[str]) -> int:
    """Measure, write the figures to files and print them."""
    own, keys = split(Options, arguments)
    options = parse(Options, own, command="benchmark compare")
    from kinema.benchmark.compare.environments import ENVIRONMENTS, set_up
    from kinema.benchmark.compare.rows import ROWS, find_row
    from kinema.benchmark.compare.run import compare
    from kinema.benchmark.pages.tables import COMPARED, compared_notes, compared_rows, markdown

    rows = {name: find_row(name) for name in options.models or ROWS}
    for row in rows.values():
        config_of(row.recipe, {**row.keys, **keys})  # reports invalid options before anything is measured
    if options.set_up:
        for name in ENVIRONMENTS:
            set_up(options.environments, name)
    elif not options.environments.is_dir():
        raise UserError(f"no peers are installed in {options.environments}: pass --set-up, or another --environments")
    comparisons = []
    for name, row in rows.items():
        comparison = compare(name, row, options, keys)
        write_text(options.work_dir / f"compare_{name}.json", strict_json.dumps(comparison.as_json(), indent=1) + "\n")
        comparisons.append(comparison)
    table = markdown(COMPARED, [cells for comparison in comparisons for cells in compared_rows(comparison)])
    table += "\n" + "".join(f"- {note}\n" for note in compared_notes(comparisons))
    write_text(options.work_dir / "compare.md", table)
    print(strict_json.dumps([comparison.as_json() for comparison in comparisons], indent=1) if options.json else table)
    return 0
