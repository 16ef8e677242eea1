"""`kinema benchmark compare MODEL…`."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import tyro

from kinema import strict_json
from kinema.benchmark.compare.environments import ENVIRONMENTS, set_up
from kinema.benchmark.compare.rows import ROWS, find_row
from kinema.benchmark.compare.run import CompareOptions, compare
from kinema.benchmark.pages.tables import COMPARED, compared_notes, compared_rows, markdown
from kinema.cli.arguments import parse, split
from kinema.errors import UserError
from kinema.recipes import config_of
from kinema.storage import write_text


@dataclass(kw_only=True)
class Options(CompareOptions):
    """Measure training steps beside other toolboxes, in turn, on the same models and batches: no data is read.

    Peers: MMAction2, MMAction, the Temporal-Shift-Module, PySlowFast, pytorchvideo, torchvision, BSN, JJBOY's BMN, in
    virtual environments that --set-up makes. Any option of Kinema's recipes may be changed by its key.
    """

    models: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")] = ()
    """tsn, i3d_heavy, i3d_8x8, i3d, tsm, slowonly, slowfast, r2plus1d, tem, pem, bmn; all when not given."""
    set_up: bool = False
    """First make the peers' virtual environments, or complete them."""
    work_dir: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path("runs/benchmark")
    """Receives compare_MODEL.json for each, and compare.md."""
    json: bool = False
    """Print JSON: [{"row", "results": {"Kinema": {"s_per_iter", "infer_s", "memory_gib", "ratio", …}, …}}]; ratio: how
    many times as long as Kinema in fp32. Times in seconds. A peer that does not run has its reason as "fault"."""


def run(arguments: Sequence[str]) -> int:
    """Measure, keep the figures in files and print them."""
    own, keys = split(Options, arguments)
    options = parse(Options, own, command="benchmark compare")
    rows = {name: find_row(name) for name in options.models or ROWS}
    for row in rows.values():
        config_of(row.recipe, {**row.keys, **keys})  # says what is wrong before anything is measured
    if options.set_up:
        for name in ENVIRONMENTS:
            set_up(options.environments, name)
    elif not options.environments.is_dir():
        raise UserError(
            f"no peers are installed in {options.environments}: add --set-up, or name another --environments"
        )
    how = CompareOptions(**{field.name: getattr(options, field.name) for field in fields(CompareOptions)})
    found = []
    for name, row in rows.items():
        comparison = compare(name, row, how, keys)
        write_text(options.work_dir / f"compare_{name}.json", strict_json.dumps(comparison.as_json(), indent=1) + "\n")
        found.append(comparison)
    table = markdown(COMPARED, [cells for comparison in found for cells in compared_rows(comparison)])
    table += "\n" + "".join(f"- {note}\n" for note in compared_notes(found))
    write_text(options.work_dir / "compare.md", table)
    print(strict_json.dumps([comparison.as_json() for comparison in found], indent=1) if options.json else table)
    return 0
