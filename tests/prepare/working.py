"""Work for the tests of processes and clusters, in a module that other processes can import."""

import ctypes
import os
import signal
import time
from pathlib import Path
from typing import Any

from kinema.errors import MediaError, UserError
from kinema.prepare.work.jobs import Unit
from kinema.storage import replacing


def make_units(folder: Path, texts: list[str]) -> list[Unit]:
    """Sources that hold `texts`, to be copied to out/."""
    (folder / "in").mkdir(exist_ok=True)
    for number, text in enumerate(texts):
        (folder / "in" / f"{number}.txt").write_text(text)
    return [
        Unit(source=str(folder / "in" / f"{number}.txt"), output=folder / "out" / f"{number}.txt")
        for number in range(len(texts))
    ]


def copy(unit: Unit, *, log: Path | None = None, gate: Path | None = None) -> None:
    """Copy the source in two halves; its text decides how that ends. The fifth unit and later ones wait for `gate`."""
    text = Path(unit.source).read_text()
    if log is not None:
        with log.open("a") as file:
            file.write(unit.output.name + "\n")
    with replacing(unit.output) as temporary:
        temporary.write_text(text[: len(text) // 2])
        while gate is not None and int(unit.output.stem) >= 4 and not gate.exists():
            time.sleep(0.01)
        if text == "bad":
            raise MediaError(unit.source, "it is bad")
        if text == "deadly" or (text == "deadly once" and not died_before(unit)):
            os.kill(os.getpid(), signal.SIGKILL)
        if text == "wrong":
            raise UserError("the options are wrong")
        temporary.write_text(text)


def died_before(unit: Unit) -> bool:
    """False the first time; then true."""
    mark = Path(unit.source + ".died")
    known = mark.exists()
    mark.touch()
    return known


def square(number: int) -> int:
    return number * number


def hang(*arguments: Any) -> None:
    """Leave a file NAME.hanging beside the source, the last argument, then never return from native code."""
    item: Unit | tuple[int, str] = arguments[-1]
    Path(f"{item.source if isinstance(item, Unit) else item[1]}.hanging").touch()
    mutex = ctypes.create_string_buffer(64)  # zeros: PTHREAD_MUTEX_INITIALIZER
    library = ctypes.CDLL(None)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)
