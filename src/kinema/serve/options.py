"""Options of a server."""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro
from annotated_types import Ge, Gt, Interval

LOCAL = ("127.0.0.1", "localhost", "::1")
"""Addresses of this machine that no other reaches."""


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """Options of a server."""

    host: str = "127.0.0.1"
    """Address to listen on. Others than 127.0.0.1, ::1 and localhost, such as 0.0.0.0, are reached from other machines
    and need --token."""
    port: Annotated[int, Interval(ge=0, le=65535)] = 8000
    """Port to listen on; 0: any free one."""
    token: Annotated[str, tyro.conf.arg(metavar="TEXT")] = ""
    """Secret that requests must send as `Authorization: Bearer TEXT`, at least 16 characters; the page takes it from
    its address, `/#token=TEXT`. Default: the environment variable KINEMA_SERVE_TOKEN, if set; else no token is
    needed."""
    max_mib: Annotated[float, Gt(0)] = 200
    """Largest upload in MiB."""
    max_seconds: Annotated[float, Gt(0)] = 300
    """Longest video in seconds."""
    max_pixels: Annotated[int, Ge(1)] = 3840 * 2160
    """Pixels of a frame, at most."""
    max_requests: Annotated[int, Ge(1)] = 32
    """Uploads that are received, waiting or computed at a time; further ones are answered 429."""
    timeout: Annotated[float, Gt(0)] = 120
    """Seconds for an upload, and again for its answer; longer ones are answered 408 and 503."""
    workers: Annotated[int, Ge(1)] = 4
    """Videos that are decoded at a time."""
    batch: Annotated[int, Ge(1)] = 8
    """Videos, or windows of them, that the network computes together, at most."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of the model; auto: a GPU if available."""
