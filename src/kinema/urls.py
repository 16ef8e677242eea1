"""URLs without their secrets: how messages show them, and how answers are named."""

import re
from collections.abc import Callable
from hashlib import blake2b

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
"""The scheme that a URL begins with."""

_ANYWHERE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(//?)(\S+)")
"""A URL in a text, with what follows it up to a blank. A `Path` of a URL has a single slash."""
_AFTER = "\"'`,;:.!?)]}>"
"""What may follow a URL in a sentence."""
_PLACEHOLDER = "USER:PASSWORD@"
"""What messages write for user and password, to say where they belong."""
_PLAIN_VALUE = re.compile(r"[a-z]{0,3}\d{0,2}")
"""Values of a query that are shown, such as that of `channel=1`: too short for a secret."""
_STORES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hdfs", "ftp", "sftp", "file", "memory", "hf")
"""Schemes without queries: `?` and `#` are letters of a name."""
_CREDENTIAL = re.compile(
    r"pass|pwd|token|sig|auth|cred|secret|session|(api|access).?key|^(pw|user|login|expires|policy)$"
    r"|^x-(amz|goog|oss)-|^(se|sp|sv|sr|st|ss|spr|srt|sk\w+)$",
    re.IGNORECASE,
)
"""Parameters of a query by which a server grants access. They do not say which file is meant."""


def without_secrets(url: str) -> str:
    """Return a URL without user and password, and with `…` for all values of its query but harmless short ones.

    A password may contain characters that should have been escaped: what precedes the last `@` is taken for it, if it
    has a colon. Other text is returned as it is.
    """
    if (match := SCHEME.match(url)) is None:
        return url
    before, _, after = url[match.end() :].rpartition("@")
    rest = after if ":" in before or "@" in _authority(url) else url[match.end() :]
    return match[0] + _with_query(match[1], rest, lambda _: "")


def name_of_url(url: str) -> str:
    """Return a URL as answers about it are named: without secrets, and different for different files.

    As in `without_secrets`, but user and password are those that RFC 3986 sees, and a hidden value of the query is
    followed by a digest unless it grants access: `?id=…` alone would be the name of all videos of a server.
    """
    if (match := SCHEME.match(url)) is None:
        return url
    authority = _authority(url)
    rest = authority.rpartition("@")[2] + url[match.end() + len(authority) :]
    return match[0] + _with_query(match[1], rest, lambda value: blake2b(value.encode(), digest_size=4).hexdigest())


def hide_secrets(text: str) -> str:
    """Return a text with the URLs in it as `without_secrets` shows them."""
    return _ANYWHERE.sub(_hidden, text) if ":/" in text else text


def _hidden(match: re.Match[str]) -> str:
    scheme, slashes, rest = match.groups()
    if rest.startswith(_PLACEHOLDER):
        return match[0]
    url = rest.rstrip(_AFTER)
    shown = without_secrets(f"{scheme}://{url}").removeprefix(f"{scheme}://")
    return f"{scheme}:{slashes}{shown}{rest[len(url) :]}"


def _authority(url: str) -> str:
    """User, password, host and port of a URL."""
    return re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)[0]


def _with_query(scheme: str, rest: str, mark: Callable[[str], str]) -> str:
    """Return what follows the scheme, without fragment and long values of the query; `mark` follows a hidden one."""
    if scheme.lower() in _STORES:
        return rest
    path, question, query = rest.partition("#")[0].partition("?")
    return path + question + "&".join(_shown(item, mark) for item in query.split("&"))


def _shown(item: str, mark: Callable[[str], str]) -> str:
    key, equals, value = item.partition("=") if "=" in item else ("", "", item)
    grants_access = _CREDENTIAL.search(key) is not None
    if not value or (_PLAIN_VALUE.fullmatch(value) and not grants_access):
        return item
    return f"{key}{equals}…{'' if grants_access else mark(value)}"
