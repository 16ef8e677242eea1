"""Completion of command lines, typed into real shells."""

import os
import pty
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from kinema.cli import COMMANDS, main

TYPED = {
    "kinema tra": "kinema train ",
    "kinema evaluate prop": "kinema evaluate proposals ",
    "kinema train --work": "kinema train --work-dir ",
    "kinema train tsm_r18_video_1x1x8_sm": "kinema train tsm_r18_video_1x1x8_small_rgb ",
    "kinema predict zoo:mvitv2_s_16x4_kin": "kinema predict zoo:mvitv2_s_16x4_kinetics400 ",
    "kinema predict run clip.mp4 --device cp": "kinema predict run clip.mp4 --device cpu ",
    "kinema evaluate detection --protocol thu": "kinema evaluate detection --protocol thumos14 ",
    "kinema prepare candidates tem --generation.pe": "kinema prepare candidates tem --generation.peak-threshold ",
    "kinema predict run cli": "kinema predict run clip.mp4 ",  # files too
}
"""What is typed before the tabulator key → what the line becomes."""


def script(shell: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["completion", shell]) == 0
    file = folder / f"_kinema.{shell}"
    file.write_text(capsys.readouterr().out)
    return file


def test_bash_completes_what_is_typed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = script("bash", tmp_path, capsys)
    (tmp_path / "clip.mp4").touch()
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(tmp_path)
        os.environ |= {"PS1": "ready>", "TERM": "dumb", "INPUTRC": "/dev/null", "HISTFILE": ""}
        os.execvp("bash", ["bash", "--noprofile", "--norc", "-i"])
    try:
        say(terminal, f"bind 'set enable-bracketed-paste off'; stty cols 400; source {file}\n")
        answer(terminal, "ready>")
        for typed, completed in TYPED.items():
            say(terminal, f"{typed}\t")
            assert completed in answer(terminal, completed), typed
            say(terminal, "\x15")  # discard the line
    finally:
        os.close(terminal)
        os.waitpid(child, 0)


def say(terminal: int, text: str) -> None:
    os.write(terminal, text.encode())


def answer(terminal: int, expected: str, patience: float = 20.0) -> str:
    """Read what the shell echoes until it has `expected`, or nothing more comes."""
    text, end = "", time.monotonic() + patience
    while expected not in text and time.monotonic() < end:
        if select.select([terminal], [], [], 0.5)[0]:
            text += os.read(terminal, 4096).decode(errors="replace")
    return text


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")
def test_fish_completes_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = script("fish", tmp_path, capsys)
    (tmp_path / "clip.mp4").touch()
    asked = "; ".join(f"echo '>'; complete -C '{typed}'" for typed in TYPED)
    ran = subprocess.run(
        ["fish", "-c", f"source {file}; {asked}"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    answers = [part.split("\n") for part in ran.stdout.split(">\n")[1:]]
    for completed, lines in zip(TYPED.values(), answers, strict=True):
        assert completed.split()[-1] in {line.partition("\t")[0] for line in lines}


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
def test_zsh_reads_its_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = script("zsh", tmp_path, capsys)
    asked = "_kinema_words 'predict' --dev run 2; _kinema_words 'predict' cp --device 4; _kinema_words '' tra kinema 1"
    program = f"autoload -Uz compinit; compinit -u -D; source {file}; {asked}"
    ran = subprocess.run(["zsh", "-f", "-c", program], check=True, capture_output=True, text=True)
    options, values, commands = ran.stdout.splitlines()
    assert "--device" in options.split()
    assert values.split() == ["auto", "cpu", "cuda"]
    assert commands.split() == [*COMMANDS]
