"""Labels of annotation tools that count frames (Label Studio, CVAT), against values computed by hand."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinema.data.dataset import VideoFiles, open_train_index
from kinema.data.options import DataOptions
from kinema.data.sampling import Sampling
from kinema.errors import UserError
from tests.data.drawn_videos import number_of, write_video
from tests.prepare.label_files import CVAT, convert


def task(number: int, video: str, *results: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": number, "data": {"video": video}, "annotations": [{"id": 7, "result": [*results], **more}]}


def timeline(start: int, end: int, *labels: str, tag: str = "actions") -> dict[str, Any]:
    value = {"ranges": [{"start": start, "end": end}], "timelinelabels": [*labels]}
    return {
        "id": f"r{start}", "type": "timelinelabels", "from_name": tag, "to_name": "video", "origin": "manual",
        "value": value,
    }  # fmt: skip


def choice(*labels: str) -> dict[str, Any]:
    return {"id": "c", "type": "choices", "from_name": "kind", "to_name": "video", "value": {"choices": [*labels]}}


def test_label_studio_counts_frames_from_one(tmp_path: Path) -> None:
    """At 10 frames/s, frames 1 to 20 are the seconds 0 to 2, and frame 31 alone those from 3.0 to 3.1."""
    tasks = [
        task(1, "/data/upload/3/0a1b2c3d-match.mp4", timeline(1, 20, "serve"), timeline(31, 31, "hit")),
        task(2, "/data/local-files/?d=videos/other.mp4", timeline(11, 15, "serve"), was_cancelled=False),
        task(3, "s3://bucket/third.mp4", timeline(1, 2, "serve"), was_cancelled=True),
    ]
    (tmp_path / "videos").mkdir()
    for name in ("match.mp4", "videos/other.mp4"):
        (tmp_path / name).touch()
    assert convert(tmp_path, "project.json", tasks, "label-studio", fps=10) == [
        ["path", "start", "end", "class"],
        ["match.mp4", "0", "2", "serve"],
        ["match.mp4", "3", "3.1", "hit"],
        ["videos/other.mp4", "1", "1.5", "serve"],
    ]


def test_label_studio_tells_the_rate_beside_boxes(tmp_path: Path) -> None:
    box = {"framesCount": 50, "duration": 2.0, "sequence": [], "labels": ["ball"]}
    tasks = [task(1, "a.mp4", {"id": "b", "type": "videorectangle", "value": box}, timeline(26, 50, "serve"))]
    assert convert(tmp_path, "project.json", tasks, "label-studio")[1:] == [["a.mp4", "1", "2", "serve"]]


def test_label_studio_choices_are_of_whole_videos(tmp_path: Path) -> None:
    tasks = [task(1, "a.mp4", choice("run")), task(2, "https://host/b.mp4?x=1", choice("run", "jump"))]
    assert convert(tmp_path, "project.json", tasks, "label-studio", labels="multi") == [
        ["path", "classes"],
        ["a.mp4", "run"],
        ["https://host/b.mp4?x=1", "run;jump"],
    ]
    with pytest.raises(UserError, match=r"task 2, result c: https://host/b.mp4\?x=1.* labels run, jump: pass --labels"):
        convert(tmp_path, "project.json", tasks, "label-studio")


def test_label_studio_minimal_export(tmp_path: Path) -> None:
    tasks = [
        {
            "id": 1, "video": "a.mp4", "annotator": 1, "annotation_id": 3, "lead_time": 4.2,
            "actions": [timeline(1, 5, "run")["value"], timeline(6, 10, "jump")["value"]],
        }
    ]  # fmt: skip
    assert convert(tmp_path, "min.json", tasks, "label-studio", fps=5)[1:] == [
        ["a.mp4", "0", "1", "run"],
        ["a.mp4", "1", "2", "jump"],
    ]
    assert convert(tmp_path, "min.json", [{"video": "a.mp4", "kind": {"choices": ["x"]}}], "label-studio")[1:] == [
        ["a.mp4", "x"]
    ]


def boxes(*frames: tuple[int, int]) -> str:
    return "".join(
        f'<box frame="{frame}" keyframe="1" outside="{outside}" occluded="0" xtl="1" ytl="1" xbr="9" ybr="9"></box>'
        for frame, outside in frames
    )


def test_cvat_tracks_are_segments_without_what_is_outside(tmp_path: Path) -> None:
    """At 10 frames/s: frames 2, 3, 4 and 8, 9, of a track that is outside from frame 5 to 7."""
    shown = boxes((2, 0), (3, 0), (4, 0), (5, 1), (8, 0), (9, 0), (10, 1))
    content = f'<track id="0" label="serve" source="manual">{shown}</track>'
    assert convert(tmp_path, "annotations.xml", CVAT.format(filter="", content=content), "cvat", fps=10)[1:] == [
        ["match.mp4", "0.2", "0.5", "serve"],
        ["match.mp4", "0.8", "1", "serve"],
    ]


def test_cvat_jobs_do_not_name_their_video(tmp_path: Path) -> None:
    job = "<meta><job><id>4</id><size>9</size><mode>interpolation</mode></job></meta>"
    text = f'<annotations>{job}<track id="0" label="x">{boxes((0, 0), (1, 0))}</track></annotations>'
    assert convert(tmp_path, "a.xml", text, "cvat", fps=1, video="b.mp4")[1:] == [["b.mp4", "0", "2", "x"]]
    with pytest.raises(UserError, match="track 0, frame 0: the file names no video: pass --video"):
        convert(tmp_path, "a.xml", text, "cvat", fps=1)


def test_cvat_tags_in_a_row_are_a_segment(tmp_path: Path) -> None:
    """Every 5th frame was annotated: 10, 15 and 20 are frames 10 to 24, that is seconds 1 to 2.5 at 10 frames/s."""
    content = "".join(
        f'<image id="{frame}" name="frame_{frame:06}" width="64" height="48"><tag label="rally"/></image>'
        for frame in (10, 15, 20, 40)
    )
    assert convert(tmp_path, "annotations.xml", CVAT.format(filter="step=5", content=content), "cvat", fps=10)[1:] == [
        ["match.mp4", "1", "2.5", "rally"],
        ["match.mp4", "4", "4.5", "rally"],
    ]


def test_cvat_projects_name_the_task_of_a_track(tmp_path: Path) -> None:
    tasks = "".join(f"<task><id>{n}</id><name>t{n}</name><source>{n}.mp4</source></task>" for n in (4, 6))
    tracks = f'<track id="0" label="x" task_id="6">{boxes((0, 0), (1, 0))}</track><track id="1" label="x" task_id="9">'
    meta = f"<meta><project><tasks>{tasks}</tasks></project></meta>"
    text = f"<annotations>{meta}{tracks}{boxes((0, 0))}</track></annotations>"
    with pytest.raises(UserError, match=r"track 1: task '9' is none of the export's tasks \(4, 6\)"):
        convert(tmp_path, "annotations.xml", text, "cvat", fps=1)
    text = text.replace('task_id="9"', 'task_id="4"')
    assert convert(tmp_path, "annotations.xml", text, "cvat", fps=1)[1:] == [
        ["6.mp4", "0", "2", "x"],
        ["4.mp4", "0", "1", "x"],
    ]


def test_frames_become_seconds_by_the_time_stamps_of_the_video(tmp_path: Path) -> None:
    """Of a variable frame rate; the segments then hold the very frames that were labeled."""
    times = np.cumsum([0, *([1, 9, 2, 30] * 15)[:59]]).tolist()
    write_video(tmp_path / "match.mp4", times=times, time_base=Fraction(1, 100))
    tracks = [(3, 9), (20, 21), (50, 60)]
    content = "".join(
        f'<track id="{k}" label="x">{boxes(*((frame, 0) for frame in range(*track)))}</track>'
        for k, track in enumerate(tracks)
    )
    rows = convert(tmp_path, "annotations.xml", CVAT.format(filter="", content=content), "cvat")
    assert [float(row[1]) for row in rows[1:]] == [times[first] / 100 for first, _ in tracks]
    options = DataOptions(train=str(tmp_path / "list.csv"))
    files = VideoFiles(open_train_index(options), options, [Sampling(clip_len=1)])
    for row, (first, end) in enumerate(tracks):
        frames = files.read(row, lambda video: video.frames(range(len(video))))
        assert [*map(number_of, frames)] == [*range(first, end)]


def test_frames_beyond_the_video_need_the_rate_of_the_tool(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", times=range(10))
    with pytest.raises(UserError, match="frame 19 of a video of 10: pass --fps"):
        convert(tmp_path, "project.json", [task(1, "a.mp4", timeline(20, 30, "x"))], "label-studio")
    with pytest.raises(UserError, match=r"'none.mp4' was not found, .*pass --root, or --fps"):
        convert(tmp_path, "project.json", [task(1, "none.mp4", timeline(20, 30, "x"))], "label-studio")
