"""The kinds of fault that Kinema expects: a user's, a medium's, and an outage of a storage."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager


class UserError(Exception):
    """A fault that the user can mend.

    The message says what is wrong, where, what was found and what is allowed. The command line prints it and ends
    with exit code 2, without a traceback.
    """


class MediaError(Exception):
    """A video or a folder of frames that cannot be read.

    The data path counts it as a bad sample and goes on with another one; single-file commands report it as it is.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[type["MediaError"], tuple[str, str]]:
        """Two arguments make it, so that it crosses process borders (loader workers pickle it)."""
        return type(self), (self.path, self.reason)


class StorageOutage(Exception):  # noqa: N818 - the established term
    """A storage as a whole does not answer, so that nothing is known about the file that was asked for.

    `kinema.storage.outages` says which faults are outages. Reading is tried again for a while, in a training for
    `--data.storage.patience` seconds; then the command ends with exit code 75.
    """


EXIT_TEMPORARY = 75
"""Exit code of a command that the same command continues or repeats (EX_TEMPFAIL of sysexits.h)."""


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """`"; did you mean 'lr'?"` for the nearest allowed name, or `""` when none is near."""
    near = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else ""


@contextmanager
def renaming_options(names: Mapping[str, str]) -> Iterator[None]:
    """Have the messages of `UserError`s name options as they are called where they are raised through.

    A model is used by commands whose options have other names: `{"--runtime.": "--"}` makes `--device` of
    `--runtime.device`.
    """
    try:
        yield
    except UserError as error:
        raise UserError(renamed_options(str(error), names)) from error


def renamed_options(message: str, names: Mapping[str, str]) -> str:
    """`message` with the beginnings of options replaced, see `renaming_options`."""
    for name, other in names.items():
        message = message.replace(name, other)
    return message
