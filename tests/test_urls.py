"""URLs in messages and answers: nothing secret is shown, and different files have different names."""

import logging
import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.console import print_fault, show_messages
from kinema.errors import MediaError, StorageOutage, UserError
from kinema.urls import hide_secrets, name_of_url, without_secrets

CHARACTERS = st.characters(min_codepoint=33, max_codepoint=126)
SECRETS = st.text(CHARACTERS, min_size=4).map(lambda text: f"{text}~Zq")
"""What occurs in no host, path or scheme, with any character that should have been escaped."""
HOST = "camera.example:8554/stream1"


@given(SECRETS, SECRETS, st.sampled_from(["rtsp", "https", "s3"]), st.sampled_from(["", "?channel=1"]))
def test_user_and_password_are_never_shown(user: str, password: str, scheme: str, query: str) -> None:
    assert without_secrets(f"{scheme}://{user}:{password}@{HOST}{query}") == f"{scheme}://{HOST}{query}"


@given(SECRETS, SECRETS, st.sampled_from(["'{}' cannot be read: no", "see {}, and", "({}).", "{}: it is no video"]))
def test_nor_in_a_sentence(user: str, password: str, sentence: str) -> None:
    shown = f"https://{HOST}"
    for given_url, expected in ((f"https://{user}:{password}@{HOST}", shown), (shown, shown)):
        assert hide_secrets(sentence.format(given_url)) == sentence.format(expected)


@pytest.mark.parametrize(
    ("url", "shown", "name"),
    [
        ("https://u:p@h/a.mp4", "https://h/a.mp4", "https://h/a.mp4"),
        ("https://u:p@h:81/@me/a.mp4", "https://me/a.mp4", "https://h:81/@me/a.mp4"),
        ("https://h/@me/a.mp4", "https://h/@me/a.mp4", "https://h/@me/a.mp4"),
        ("https://h/a.mp4?mail=a@b.c", "https://h/a.mp4?mail=…", "https://h/a.mp4?mail=…#"),
        ("https://h/v?id=10001", "https://h/v?id=…", "https://h/v?id=…#"),
        ("https://h/v?download=1&token=3f9c2a#t=4", "https://h/v?download=1&token=…", "https://h/v?download=1&token=…"),
        ("https://h/a?X-Amz-Signature=ab12&se=2026-11-30", *["https://h/a?X-Amz-Signature=…&se=…"] * 2),
        ("s3://bucket/a?b#c.mp4", "s3://bucket/a?b#c.mp4", "s3://bucket/a?b#c.mp4"),
        ("ftp://u:p@h/a.mp4", "ftp://h/a.mp4", "ftp://h/a.mp4"),
        ("a@b:c/d.mp4", "a@b:c/d.mp4", "a@b:c/d.mp4"),
    ],
)
def test_names(url: str, shown: str, name: str) -> None:
    assert without_secrets(url) == shown
    assert re.sub("…[0-9a-f]{8}", "…#", name_of_url(url)) == name
    assert hide_secrets(f"{url}: {url}") == f"{shown}: {shown}"


@given(st.text(CHARACTERS, min_size=3), st.text(CHARACTERS, min_size=3))
def test_names_of_different_files_differ(one: str, other: str) -> None:
    names = {name_of_url(f"https://host/v?id={text.replace('#', '').replace('&', '')}") for text in (one, other)}
    assert len(names) == len({text.replace("#", "").replace("&", "") for text in (one, other)})


def test_errors_hide_what_they_are_told() -> None:
    url = "https://u:hunter2@h/a.mp4"
    errors = [UserError(f"'{url}' is wrong"), StorageOutage(f"{url}: gone"), MediaError(url, f"GET {url} failed")]
    for error in [*errors, *map(pickle.loads, map(pickle.dumps, errors))]:
        assert "hunter2" not in f"{error} {error.args if not isinstance(error, MediaError) else error.reason}"
        assert "https://h/a.mp4" in str(error)
    assert errors[2].path == url  # to open it again


def test_messages_say_where_a_password_belongs() -> None:
    hint = "expected rtsp://HOST/PATH or rtsp://USER:PASSWORD@HOST/PATH (401)"
    assert str(UserError(hint)) == hint


def test_messages_hide_what_they_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    show_messages()
    logging.getLogger("kinema.test").warning("%s: failed", "rtsp://u:hunter2@h/a")
    print_fault("https:/u:hunter2@h/a: no such file")  # a Path of a URL
    said = capsys.readouterr().err
    assert "rtsp://h/a: failed" in said
    assert "https:/h/a: no such file" in said
    assert "hunter2" not in said
