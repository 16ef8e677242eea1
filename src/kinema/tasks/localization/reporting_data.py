"""What a report says of a localizer's data: videos, instances and their lengths, labels, inputs of the network."""

from collections.abc import Sequence

import numpy as np

from kinema.errors import StorageOutage, UserError
from kinema.report.page.content import Block, Cell, Column, Figures, Note, ReportedRun, Section, Table
from kinema.tasks.localization.data.features import Split
from kinema.tasks.localization.metrics.annotations import GroundTruth
from kinema.tasks.localization.metrics.segments import Floats


def describe_data(tested: ReportedRun) -> Section:
    """Return the section on the data of a run; where they cannot be read, what is wrong."""
    try:
        splits = tested.description.data.splits()
    except (UserError, StorageOutage) as error:
        text = f"The ground truth cannot be read here, so that videos and instances are not described: {error}"
        return Section(title="Data", blocks=[Note(text=text)])
    figures = []
    for use, _, truth in splits:
        figures += [(f"{use} videos", f"{len(truth.videos):,}"), (f"{use} instances", f"{_instances(truth):,}")]
    labels = sorted({label for split in splits for label in split.truth.labels} - {""})
    blocks: list[Block] = [Figures(values=[*figures, ("labels", f"{len(labels):,}")])]
    facts = [_facts(split.truth) for split in splits]
    try:
        opened = _open(tested, splits)
    except (UserError, StorageOutage) as error:
        blocks.append(Note(text=f"The inputs of the network cannot be read here: {error}"))
    else:
        facts = [of_truth | of_inputs for of_truth, of_inputs in zip(facts, opened, strict=True)]
    names = dict.fromkeys(name for each in facts for name in each)
    columns = [Column(name="fact"), *(Column(name=split.use) for split in splits)]
    rows = [[name, *(each.get(name, "–") for each in facts)] for name in names]
    blocks.insert(1, Table(caption="Videos and instances", columns=columns, rows=rows, sortable=False))
    if labels:
        blocks.append(_by_label(splits, labels))
    return Section(title="Data", blocks=blocks)


def _open(tested: ReportedRun, splits: Sequence[Split]) -> list[dict[str, str]]:
    """Return the facts of the inputs of each of the splits."""
    described = tested.description
    opened = described.data.open(splits, described.model, described.task, tuple(described.classes))
    return [split.facts(described.task) for split in opened]


def _facts(truth: GroundTruth) -> dict[str, str]:
    wanted = truth.label >= 0
    of_video = np.bincount(truth.video[wanted], minlength=len(truth.videos))
    facts = {
        "videos without instances": f"{int((of_video == 0).sum()):,}",
        "instances of a video": f"{of_video.mean():.1f} on average, {of_video.max():,} at most",
        "length of videos": _lengths(truth.durations),
        "length of instances": _lengths(np.diff(truth.segments[wanted])[:, 0]),
    }
    if ambiguous := int((~wanted).sum()):
        facts["ambiguous instances, which are ignored"] = f"{ambiguous:,}"
    return facts


def _instances(truth: GroundTruth) -> int:
    return int((truth.label >= 0).sum())


def _lengths(seconds: Floats) -> str:
    known = seconds[np.isfinite(seconds)]
    if not len(known):
        return "–"
    return f"{known.min():.1f} – {known.max():.1f} s, median {np.median(known):.1f} s"


def _by_label(splits: Sequence[Split], labels: Sequence[str]) -> Table:
    """Return the table of the instances of each label, and their lengths."""
    of_label = [dict(_of_labels(split.truth)) for split in splits]
    rows: list[Sequence[Cell]] = []
    for label in labels:
        lengths = [each.get(label, np.zeros(0)) for each in of_label]
        known = np.concatenate(lengths)
        seconds = (np.median(known), known.min(), known.max())
        rows.append([label, *map(len, lengths), *(round(float(each), 1) for each in seconds)])
    columns = [
        Column(name="label"),
        *(Column(name=f"{split.use} instances", style="count") for split in splits),
        *(Column(name=name, style="number") for name in ("median length", "shortest", "longest")),
    ]
    return Table(caption="Instances by label, lengths in seconds", columns=columns, rows=rows)


def _of_labels(truth: GroundTruth) -> list[tuple[str, Floats]]:
    """Return each label and the lengths of its instances in seconds."""
    seconds = np.diff(truth.segments)[:, 0]
    return [(label, seconds[truth.label == number]) for number, label in enumerate(truth.labels)]
