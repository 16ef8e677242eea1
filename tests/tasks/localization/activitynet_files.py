"""Ground truth and results written in ActivityNet's format, and the AP of what was written."""

import json
from pathlib import Path
from typing import Any

from kinema.tasks.localization.metrics.annotations import read_ground_truth, read_results
from kinema.tasks.localization.metrics.detection import average_precision
from kinema.tasks.localization.metrics.protocols import Protocol

Database = dict[str, list[tuple[float, float, str]]]
Found = dict[str, list[tuple[float, float, str, float]]]


def written(folder: Path, truth: Database, found: Found) -> tuple[Path, Path]:
    database = {
        video: {"subset": "test", "annotations": [{"segment": [a, b], "label": label} for a, b, label in instances]}
        for video, instances in truth.items()
    }
    results = {
        video: [{"segment": [a, b], "label": label, "score": score} for a, b, label, score in instances]
        for video, instances in found.items()
    }
    (folder / "truth.json").write_text(json.dumps({"database": database}))
    (folder / "results.json").write_text(json.dumps({"results": results}))
    return folder / "truth.json", folder / "results.json"


def measured(folder: Path, truth: Database, found: Found, protocol: Protocol, thresholds: tuple[float, ...]) -> Any:
    truth_file, results_file = written(folder, truth, found)
    ground_truth = read_ground_truth(truth_file)
    detections = read_results(results_file, ground_truth, labelled=True)
    return ground_truth.labels, average_precision(ground_truth, detections, protocol=protocol, thresholds=thresholds)


def thumos14_test(shared: Path) -> Database:
    """THUMOS14's test annotations, its ambiguous instances among them."""
    truth: Database = {}
    for file in sorted((shared / "data" / "thumos14" / "annotation_test").glob("*_test.txt")):
        for line in file.read_text().splitlines():
            video, start, end = line.split()
            truth.setdefault(video, []).append((float(start), float(end), file.name.removesuffix("_test.txt")))
    return truth
