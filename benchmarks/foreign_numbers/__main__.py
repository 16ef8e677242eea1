"""`python -m benchmarks.foreign_numbers TOOL CHECKOUT…`."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from benchmarks.foreign_numbers import mmaction2, pyslowfast, temporal_shift, torchvision_models
from benchmarks.foreign_numbers.cases import Case
from benchmarks.foreign_numbers.stubs import Stubs

OUTPUT = Path("tests/models/foreign_numbers")

TOOLS: dict[str, Callable[..., Iterator[Case]]] = {
    "pyslowfast": pyslowfast.cases,
    "mmaction2": mmaction2.cases,
    "mmaction2_0x": mmaction2.cases_0x,
    "tsm": temporal_shift.cases,
    "torchvision": torchvision_models.cases,
}


def main(tool: str, *checkouts: str) -> None:
    sys.path[:0] = checkouts
    sys.meta_path.append(Stubs())
    torch.set_num_threads(1)
    cases: list[Case] = []
    keys: dict[str, dict[str, str]] = {}
    with torch.inference_mode():
        for case in TOOLS[tool](*map(Path, checkouts)):
            case["keys"] = _shared(keys, case.pop("shapes"), case["name"])
            cases.append(case)
            print(case["name"], case["frames"], [round(value, 3) for value in case["logits"][0][:3]], flush=True)
    content = {"tool": tool, "commits": [_commit(path) for path in checkouts], "keys": keys, "cases": cases}
    (OUTPUT / f"{tool}.json").write_text(json.dumps(content, indent=0, ensure_ascii=False) + "\n")


def _shared(keys: dict[str, dict[str, str]], shapes: dict[str, str], name: str) -> str:
    """Add `shapes` to `keys`; returns the name of the first network with the same ones."""
    same = next((known for known, others in keys.items() if others == shapes), name)
    keys.setdefault(same, shapes)
    return same


def _commit(checkout: str) -> str:
    """Name and commit of a checkout; `unknown` if it is not the top folder of a git repository."""
    git = ["git", "-C", checkout, "rev-parse"]
    top = subprocess.run([*git, "--show-toplevel"], capture_output=True, text=True, check=False).stdout.strip()
    head = subprocess.run([*git, "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    name = Path(checkout, "COMMIT")
    head = name.read_text().strip() if name.is_file() else head if top and Path(top) == Path(checkout).resolve() else ""
    return f"{Path(checkout).name} {head or 'unknown'}"


if __name__ == "__main__":
    main(*sys.argv[1:])
