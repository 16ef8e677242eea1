"""Diving48's JSON files."""

import json
from pathlib import Path

import pytest

from kinema.errors import UserError
from kinema.prepare.datasets.diving48 import read_diving48
from kinema.prepare.datasets.official import Listed
from tests.prepare.datasets.trees import write_files

VOCABULARY = [["Back", "15som", "05Twis", "FREE"], ["Forward", "Dive", "NoTwis", "PIKE"]]


def files(label: object = 1) -> dict[str, str | bytes]:
    train = [{"vid_name": "-mmq0PT-u8k_00155", "label": label, "start_frame": 0, "end_frame": 48}]
    old = [{"vid_name": "-mmq0PT-u8k_00155", "label": 0, "start_frame": 0, "end_frame": 48}]
    return {
        "Diving48_vocab.json": json.dumps(VOCABULARY),
        "Diving48_V2_train.json": json.dumps(train),
        "Diving48_train.json": json.dumps(old),
        "Diving48_V2_test.json": json.dumps([]),
    }


def test_rows_and_classes(tmp_path: Path) -> None:
    """Version 2 is taken where both are there."""
    found = read_diving48(write_files(tmp_path, files()))
    assert found.classes == ("Back+15som+05Twis+FREE", "Forward+Dive+NoTwis+PIKE")
    assert found.splits == {"train": [Listed(names=("-mmq0PT-u8k_00155",), labels=(1,))], "test": []}


@pytest.mark.parametrize("label", [2, -1, "one", None])
def test_a_label_out_of_range_is_named(tmp_path: Path, label: object) -> None:
    with pytest.raises(UserError, match=r"V2_train.json, -mmq0PT-u8k_00155: .*expected 0 to 1"):
        read_diving48(write_files(tmp_path, files(label)))
