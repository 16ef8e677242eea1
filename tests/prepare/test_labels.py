"""Labels of annotation tools that tell seconds (ELAN, VIA, BORIS), and of any, against values computed by hand."""

import json
from pathlib import Path
from typing import Any

import pympi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.cli import main
from kinema.errors import UserError
from kinema.prepare.labels.command import prepare_labels
from kinema.prepare.labels.names import path_in
from kinema.prepare.labels.options import LabelsOptions
from kinema.tasks.localization.metrics.annotations import read_ground_truth
from tests.data.drawn_videos import write_video
from tests.prepare.label_files import CVAT, convert

SPANS = st.lists(
    st.tuples(st.integers(0, 90_000), st.integers(1, 9000), st.sampled_from("pqr")), min_size=1, max_size=9
)


@given(SPANS, st.integers(0, 500))
@settings(max_examples=25, deadline=None)
def test_documents_of_elan_say_what_pympi_says(spans: list[tuple[int, int, str]], origin: int) -> None:
    """pympi writes the document, and reads it back."""
    import tempfile

    document = pympi.Eaf(author="a")
    document.add_linked_file(
        "file:///C:/media/match.mp4", relpath="./match.mp4", mimetype="video/mp4", time_origin=origin
    )
    document.add_tier("actions")
    for start, length, label in spans:
        document.add_annotation("actions", start, start + length, label)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        document.to_file(str(folder / "d.eaf"))
        expected = [
            (round((start + origin) / 1000, 3), round((end + origin) / 1000, 3), label)
            for start, end, label in pympi.Eaf(str(folder / "d.eaf")).get_annotation_data_for_tier("actions")
        ]
        rows = convert(folder, "d.eaf", (folder / "d.eaf").read_text(), "elan", layer="actions", labels="multi")
    found = [(float(start), float(end), label) for _, start, end, labels in rows[1:] for label in labels.split(";")]
    assert {row[0] for row in rows[1:]} == {"match.mp4"}
    assert sorted(found) == sorted({*expected})


EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2026-01-01T00:00:00+00:00" FORMAT="3.0" VERSION="3.0">
  <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">
    <MEDIA_DESCRIPTOR MEDIA_URL="file:///sound.wav" MIME_TYPE="audio/x-wav"/>
    <MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/My%20videos/match.mp4" MIME_TYPE="video/mp4"/>
  </HEADER>
  <TIME_ORDER>
    <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="1000"/><TIME_SLOT TIME_SLOT_ID="ts2"/><TIME_SLOT TIME_SLOT_ID="ts3"/>
    <TIME_SLOT TIME_SLOT_ID="ts4" TIME_VALUE="4000"/>
  </TIME_ORDER>
  <TIER TIER_ID="words" LINGUISTIC_TYPE_REF="t">
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
      <ANNOTATION_VALUE>first</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts3" TIME_SLOT_REF2="ts4">
      <ANNOTATION_VALUE></ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
  </TIER>
  <TIER TIER_ID="notes" PARENT_REF="words" LINGUISTIC_TYPE_REF="r">
    <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a3" ANNOTATION_REF="a2">
      <ANNOTATION_VALUE>of the second</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
  </TIER>
</ANNOTATION_DOCUMENT>
"""


def test_elan_slots_without_time_and_references(tmp_path: Path) -> None:
    """Slots 2 and 3 are a third and two thirds of the way from second 1 to second 4."""
    assert convert(tmp_path, "d.eaf", EAF, "elan")[1:] == [
        ["match.mp4", "1", "2", "first"],
        ["match.mp4", "3", "4", "of the second"],
    ]
    with pytest.raises(UserError, match=r"annotation a3 of tier 'notes': .* not in the document"):
        convert(tmp_path, "d.eaf", EAF.replace('ANNOTATION_REF="a2"', 'ANNOTATION_REF="a3"'), "elan")


def test_documents_with_entities_are_refused(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY f SYSTEM "file:///etc/passwd">]>'
    for name, text, tool in (("d.eaf", EAF, "elan"), ("a.xml", CVAT.format(filter="", content=""), "cvat")):
        with pytest.raises(UserError, match="declares a document type"):
            convert(tmp_path, name, text.replace("?>", f"?>{bomb}", 1), tool)


VIA: dict[str, Any] = {
    "project": {"pid": "_", "data_format_version": "3.1.1", "vid_list": ["1", "2"]},
    "config": {"file": {"loc_prefix": {"1": "", "2": "", "3": "", "4": ""}}},
    "attribute": {
        "1": {"aname": "action", "type": 4, "options": {"0": "serve", "1": "return"}, "anchor_id": "FILE1_Z2_XY0"},
        "2": {"aname": "note", "type": 1, "options": {}, "anchor_id": "FILE1_Z2_XY0"},
    },
    "file": {"1": {"fid": 1, "fname": "a.mp4", "type": 4, "loc": 1, "src": ""}, "2": {"fid": 2, "fname": "b.mp4"}},
    "view": {"1": {"fid_list": [1]}, "2": {"fid_list": [2]}},
    "metadata": {
        "1_x": {"vid": "1", "flg": 0, "z": [1.5, 2.25], "xy": [], "av": {"1": "0", "2": "good"}},
        "2_y": {"vid": "2", "flg": 0, "z": [0, 3.125], "xy": [], "av": {"1": "1"}},
        "2_z": {"vid": "2", "flg": 0, "z": [1.0], "xy": [2, 1, 1, 5, 5], "av": {"1": "1"}},
        "2_p": {"vid": "2", "flg": 0, "z": [4.0], "xy": [], "av": {"1": "0"}},
    },
}


def test_via_options_times_and_layers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected = [["a.mp4", "1.5", "2.25", "serve"], ["b.mp4", "0", "3.125", "return"]]
    assert convert(tmp_path, "via.json", VIA, "via", layer="action")[1:] == expected
    assert "1 labels of single points in time are left out" in caplog.text
    rows = convert(tmp_path, "via.json", VIA, "via", layer="action", points=0.5)
    assert rows[1:] == [*expected, ["b.mp4", "3.75", "4.25", "serve"]]
    assert ["a.mp4", "1.5", "2.25", "serve;good"] in convert(tmp_path, "via.json", VIA, "via", labels="multi")


def test_via_tables(tmp_path: Path) -> None:
    lines = [
        "# Exported using VGG Image Annotator (http://www.robots.ox.ac.uk/~vgg/software/via)",
        f"# ATTRIBUTE = {json.dumps(VIA['attribute'])}",
        "# CSV_HEADER = metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata",
        '"1_x","[""a.mp4""]",0,"[1.5,2.25]","[]","{""1"":""0""}"',
    ]
    assert convert(tmp_path, "via.csv", "\n".join(lines), "via")[1:] == [["a.mp4", "1.5", "2.25", "serve"]]
    older = [
        "# CSV_HEADER = metadata_id,file_list,temporal_segment_start,temporal_segment_end,metadata",
        '"1_x","[""a.mp4""]",1.5,2.25,"{""TEMPORAL-SEGMENTS"":""serve""}"',
        '"1_y","[""a.mp4""]",x,2.25,"{""TEMPORAL-SEGMENTS"":""serve""}"',
    ]
    assert convert(tmp_path, "via.csv", "\n".join(older[:2]), "via")[1:] == [["a.mp4", "1.5", "2.25", "serve"]]
    with pytest.raises(UserError, match="line 3: time 'x' is not a number from 0 on"):
        convert(tmp_path, "via.csv", "\n".join(older), "via")


def boris(*events: list[Any], files: tuple[str, ...] = ("a.mp4",), **more: Any) -> dict[str, Any]:
    observation = {
        "file": {"1": [*files], "2": []}, "type": "MEDIA", "date": "2026-01-01T00:00:00", "description": "",
        "time offset": 0.0, "events": [*events], "media_info": {"length": dict.fromkeys(files, 10.0), "fps": {}},
        **more,
    }  # fmt: skip
    kinds = {"sit": "State event", "look": "Point event"}
    behaviors = {str(k): {"type": kind, "key": name, "code": name} for k, (name, kind) in enumerate(kinds.items())}
    return {"observations": {"one": observation}, "behaviors_conf": behaviors, "project_format_version": "7.0"}


def test_boris_states_last_from_start_to_stop(tmp_path: Path) -> None:
    """Of each subject by itself; what happens after the first video of ten seconds is in the second one."""
    events: list[list[Any]] = [
        [1.0, "cat", "sit", "", ""], [2.0, "dog", "sit", "", ""], [3.0, "cat", "sit", "", ""],
        [4.0, "dog", "sit", "", ""], [4.5, "", "look", "", ""], [12.0, "cat", "sit", "", ""],
        [13.5, "cat", "sit", "", ""],
    ]  # fmt: skip
    rows = convert(tmp_path, "p.boris", boris(*events, files=("a.mp4", "b.mp4")), "boris", points=1)
    assert rows[1:] == [
        ["a.mp4", "1", "3", "sit"],
        ["a.mp4", "2", "4", "sit"],
        ["a.mp4", "4", "5", "look"],
        ["b.mp4", "2", "3.5", "sit"],
    ]
    for broken, message in (
        (boris(*events[:1]), "observation 'one', event 1: 'sit' starts and does not stop"),
        (boris([1.0, "", "run", "", ""]), "event 1: behavior 'run' is no state or point event"),
        (boris(*events[:4], **{"time offset": 5.0}), "observation 'one': the observation has a time offset"),
    ):
        with pytest.raises(UserError, match=message):
            convert(tmp_path, "p.boris", broken, "boris")


def test_boris_tables(tmp_path: Path) -> None:
    tabular = (
        "Observation id,Observation date,Source,Time offset (s),Subject,Behavior,Behavior type,Time,Media file name\n"
        "one,2026-01-01,player #1:a.mp4,0,cat,sit,START,1.5,a.mp4\n"
        "one,2026-01-01,player #1:a.mp4,0,cat,look,POINT,2,a.mp4\n"
        "one,2026-01-01,player #1:a.mp4,0,cat,sit,STOP,3.25,a.mp4\n"
    )
    expected = [["a.mp4", "1.5", "3.25", "sit"]]
    assert convert(tmp_path, "events.csv", tabular, "boris")[1:] == expected
    assert convert(tmp_path, "events.tsv", tabular.replace(",", "\t"), "boris")[1:] == expected
    older = (
        "Observation id,one,,,,,,,\n,,,,,,,,\nPlayer #1,a.mp4,,,,,,,\n"
        "Time,Media file path,Total length,FPS,Subject,Behavior,Behavioral category,Comment,Status\n"
        "1.5,a.mp4,10,25,cat,sit,,,START\n3.25,a.mp4,10,25,cat,sit,,,STOP\n"
    )
    assert convert(tmp_path, "events.csv", older, "boris")[1:] == expected
    with pytest.raises(UserError, match="line 6: 'sit' stops without a start"):
        convert(tmp_path, "events.csv", older.replace("START", "STOP"), "boris")
    aggregated = (
        "Observation id\tMedia file\tSubject\tBehavior\tBehavior type\tStart (s)\tStop (s)\tDuration (s)\n"
        "one\ta.mp4\tcat\tsit\tSTATE\t1.500\t3.250\t1.750\none\ta.mp4\tcat\tlook\tPOINT\t2.000\t2.000\tNA\n"
    )
    assert convert(tmp_path, "events.tsv", aggregated, "boris")[1:] == expected
    with pytest.raises(UserError, match="line 3: its observation plays several videos in turn"):
        convert(tmp_path, "events.tsv", aggregated.replace("a.mp4\tcat\tlook", "b.mp4\tcat\tlook"), "boris")


def test_a_ground_truth_is_read_by_localization(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", times=range(100))  # four seconds
    (tmp_path / "p.boris").write_text(json.dumps(boris([1.0, "", "sit", "", ""], [2.5, "", "sit", "", ""])))
    output = tmp_path / "truth.json"
    options = LabelsOptions(files=(tmp_path / "p.boris",), tool="boris", output=output, subset="validation")
    assert prepare_labels(options).annotations == 1
    truth = read_ground_truth(output, subset="validation")
    assert (truth.videos, truth.labels, truth.segments.tolist()) == (("a",), ("sit",), [[1.0, 2.5]])
    assert truth.durations.tolist() == [4.0]
    (tmp_path / "a.mp4").unlink()  # then what the project says of its length counts
    prepare_labels(options)
    assert read_ground_truth(output).durations.tolist() == [10.0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("file:///C:/My%20videos/a.mp4", "My videos/a.mp4"),
        (r"D:\videos\a.mp4", "videos/a.mp4"),
        (r"\\server\share\videos\a.mp4", "videos/a.mp4"),
        ("./a.mp4", "a.mp4"),
        ("/data/local-files/?d=x/a.mp4", "x/a.mp4"),
        ("/data/upload/1/0a1b2c3d-a.mp4", "/data/upload/1/0a1b2c3d-a.mp4"),
    ],
)
def test_paths_of_other_machines(name: str, expected: str) -> None:
    assert str(path_in(name)) == expected


@pytest.mark.parametrize(
    ("tool", "text", "message"),
    [
        ("label-studio", "{}", "holds no list"),
        ("label-studio", "[", "is not JSON"),
        ("label-studio", '[{"id": 4, "data": {"text": "x"}}]', "task 4: 0 of its fields name a video file"),
        ("cvat", "<x/>", "is an XML file of <x>"),
        ("cvat", "<x", "is not XML"),
        ("elan", "<annotations/>", "is an XML file of <annotations>"),
        ("via", "{}", "has no metadata, file and view"),
        ("via", "a,b\n1,2\n", "no columns file_list and metadata"),
        ("boris", "{}", "has no observations and behaviors_conf"),
        ("boris", "a,b\n", "has no line of columns"),
    ],
)
def test_other_files_are_refused(tool: Any, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        convert(tmp_path, "file", text, tool)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "via.json"
    file.write_text(json.dumps(VIA))
    arguments = ["prepare", "labels", str(file), "--from", "via", "--output", str(tmp_path / "list.csv")]
    assert main([*arguments, "--layer", "action"]) == 0
    assert (tmp_path / "list.csv").read_text().startswith("path,start,end,class\n")
    assert main([*arguments[:-1], str(tmp_path / "list.txt")]) == 2
    assert "allowed: .csv, .json" in capsys.readouterr().err
