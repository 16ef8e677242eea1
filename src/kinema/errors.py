"""Exceptions for errors of users, unreadable media and storage outages."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from kinema.urls import hide_secrets, without_secrets


class UserError(Exception):
    """An error that the user can correct.

    The message names the file or option, what was found and what is allowed. The command line prints it without a
    traceback and exits with code 2. URLs in it are shown without their secrets.
    """

    def __init__(self, message: str) -> None:
        super().__init__(hide_secrets(message))


class TrainingDiverged(UserError):  # noqa: N818 - what happened
    """A training whose loss is not finite any more."""


class MissingPackage(UserError):  # noqa: N818 - what is missing
    """An optional package that is not installed."""


class MediaError(Exception):
    """A video or a folder of frames that cannot be read.

    Datasets count it as a bad file and substitute another sample; commands on single files report it. The message and
    the reason show URLs without their secrets.
    """

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, hide_secrets(reason)
        super().__init__(f"{without_secrets(path)}: {self.reason}")

    def __reduce__(self) -> tuple[type["MediaError"], tuple[str, str]]:
        """Pickle both arguments, as loader workers do."""
        return type(self), (self.path, self.reason)


class StorageOutage(Exception):  # noqa: N818 - the established term
    """A storage that does not respond, so that the state of the requested file is unknown.

    `kinema.storage.outages` defines which errors are outages. Reads are retried, in training for
    `--data.storage.patience` seconds; then the command exits with code 75. URLs are shown without their secrets.
    """

    def __init__(self, message: str) -> None:
        super().__init__(hide_secrets(message))


EXIT_TEMPORARY = 75
"""Exit code of a command that can be run again to continue (EX_TEMPFAIL of sysexits.h)."""


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """Return `"; did you mean 'lr'?"` for the closest allowed name, or an empty string if none is close."""
    near = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else ""


@contextmanager
def renaming_options(names: Mapping[str, str]) -> Iterator[None]:
    """Replace prefixes of option names in the messages of `UserError`s raised in the block.

    Commands that use a model name its options differently: `{"--runtime.": "--"}` turns `--runtime.device` into
    `--device`.
    """
    try:
        yield
    except UserError as error:
        raise UserError(renamed_options(str(error), names)) from error


def renamed_options(message: str, names: Mapping[str, str]) -> str:
    """Replace prefixes of option names in `message`, see `renaming_options`."""
    for name, other in names.items():
        message = message.replace(name, other)
    return message
