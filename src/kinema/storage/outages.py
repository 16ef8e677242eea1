"""Classification of read errors: outages of the storage, or faults of the file."""

import errno
from collections.abc import Iterator

from kinema.errors import StorageOutage

ERRNOS = frozenset(
    number
    for name in (
        # A server or the network to it.
        "ECONNREFUSED", "ECONNRESET", "ECONNABORTED", "EPIPE", "ESHUTDOWN", "ETIMEDOUT", "EHOSTDOWN", "EHOSTUNREACH",
        "ENETDOWN", "ENETRESET", "ENETUNREACH", "ENONET", "EAGAIN", "EBUSY",
        # A network disk, a FUSE mount, or the device below a file system.
        "EIO", "EREMOTEIO", "ESTALE", "ENOTCONN", "ENOLINK", "ECOMM", "ENODEV", "ENOMEDIUM",
        # This process, or this machine, has too many files open: no fault of the next one.
        "EMFILE", "ENFILE",
    )
    if (number := getattr(errno, name, None)) is not None
)  # fmt: skip
"""OSError numbers that are outages."""

STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504, 507, 509, *range(520, 528), 529, 530})
"""HTTP statuses that are outages; others, such as 401, 403, 404, 410 and 416, are faults of the file."""

OUTAGES = frozenset(
    {
        "builtins.ConnectionError",
        "builtins.TimeoutError",
        "socket.gaierror",  # a name server that fails says the same as one that does not know the name
        "http.client.IncompleteRead",
        "aiohttp.client_exceptions.ClientConnectionError",
        "aiohttp.client_exceptions.ClientPayloadError",
        "botocore.exceptions.ConnectionError",
        "botocore.exceptions.HTTPClientError",
        "botocore.exceptions.IncompleteReadError",
        "botocore.parsers.ResponseParserError",  # the answer of a proxy
        "requests.exceptions.ConnectionError",
        "requests.exceptions.Timeout",
        "requests.exceptions.ChunkedEncodingError",
        "urllib3.exceptions.ProtocolError",
        "azure.core.exceptions.ServiceRequestError",
        "azure.core.exceptions.ServiceResponseError",
        "google.auth.exceptions.TransportError",
        "paramiko.ssh_exception.SSHException",
    }
)
"""Exception classes, including derived ones, that are outages."""

FAULTS = frozenset(
    {
        "ssl.SSLCertVerificationError",
        "builtins.FileNotFoundError",
        "builtins.IsADirectoryError",
        "builtins.NotADirectoryError",
        "builtins.PermissionError",
        "aiohttp.client_exceptions.ClientSSLError",
        "botocore.exceptions.SSLError",
        "requests.exceptions.SSLError",
    }
)
"""Exception classes that are no outages, whatever they are derived from."""


def is_outage(error: BaseException) -> bool:
    """Whether a read error means that the storage is temporarily unavailable.

    The innermost cause that is in the tables decides, as libraries report a refused connection as a missing file. The
    HTTP status of an exception takes precedence over its class, and its class over its number.
    """
    verdicts = (verdict for one in reversed(list(_chain(error))) if (verdict := _verdict(one)) is not None)
    return next(verdicts, False)


def check_outage(path: str, error: BaseException) -> None:
    """Raise StorageOutage if the error of reading `path` is an outage."""
    if is_outage(error):
        # For a local file, str(error) repeats the path.
        short = None if "://" in path else getattr(error, "strerror", None)
        raise StorageOutage(f"{path}: {short or str(error) or type(error).__name__}") from error


def _verdict(error: BaseException) -> bool | None:
    """Whether one exception is an outage; None if it is not in the tables."""
    if (status := _status(error)) is not None:
        return status in STATUSES
    names = {f"{one.__module__}.{one.__qualname__}" for one in type(error).__mro__}
    if names & FAULTS:
        return False
    if names & OUTAGES or (isinstance(error, OSError) and error.errno in ERRNOS):
        return True
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Iterate over an exception and its causes."""
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__


def _status(error: BaseException) -> int | None:
    """Return the HTTP status of an exception of aiohttp, botocore, gcsfs, azure or requests."""
    for value in _statuses(error):
        if str(value).isdigit() and 100 <= int(str(value)) < 600:
            return int(str(value))
    return None


def _statuses(error: BaseException) -> Iterator[object]:
    yield getattr(error, "status", None)
    yield getattr(error, "status_code", None)
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        yield response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    yield getattr(response, "status_code", None)
    # Only of gcsfs: aiohttp's parser has code 400 for a truncated body.
    if type(error).__module__.startswith("gcsfs."):
        yield getattr(error, "code", None)
