"""The results as a page in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any


def page(report: Mapping[str, Any]) -> str:
    """Return the page of a report: what failed, and the tables of each step."""
    steps = report["steps"]
    lines = [f"# Kinema on {_machine(steps)}", ""]
    if report["device"] == "cpu":
        lines += ["The device is a CPU: this shows that the code runs, and says nothing about GPUs.", ""]
    if report["short"]:
        lines += ["Tiny networks (`--short`): the times mean nothing.", ""]
    lines += _table([{"step": name, **_summary(step)} for name, step in steps.items()])
    wrong = [{"step": name, **row} for name, step in steps.items() for row in step["rows"] if row.get("ok") is False]
    lines += ["## Failed checks", ""]
    lines += _table(wrong) if wrong else ["None.", ""]
    for name, step in steps.items():
        tables: dict[str, list[dict[str, Any]]] = {}
        for row in step["rows"]:
            tables.setdefault(row["table"], []).append({key: value for key, value in row.items() if key != "table"})
        for title, rows in tables.items():
            lines += [f"## {name}: {title}", "", *_table(rows)]
    return "\n".join(lines)


def _machine(steps: Mapping[str, Any]) -> str:
    rows = steps.get("machine", {}).get("rows", [])
    return next((row["value"] for row in rows if row.get("what") == "device"), "an unknown device")


def _summary(step: Mapping[str, Any]) -> dict[str, Any]:
    rows = step["rows"]
    return {
        "status": step["status"],
        "checks passed": sum(row.get("ok") is True for row in rows),
        "failed": sum(row.get("ok") is False for row in rows),
        "left out": sum("left_out" in row for row in rows),
        "seconds": step["seconds"],
        "reason": step["reason"],
    }


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines of a table whose columns are all keys of its rows."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    head = [f"| {' | '.join(column.replace('_', ' ') for column in columns)} |", f"|{'---|' * len(columns)}"]
    return [*head, *(f"| {' | '.join(_cell(row.get(column)) for column in columns)} |" for row in rows), ""]


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value).replace("|", "\\|").replace("\n", " ")
