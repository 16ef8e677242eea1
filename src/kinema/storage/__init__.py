"""Bytes from anywhere, and files that are either wholly there or not at all."""

from kinema.storage.atomic import (
    is_temporary,
    remove_leftovers,
    replacing,
    replacing_folder,
    settled,
    standing,
    unfinished,
    write_text,
)
from kinema.storage.direct import Direct, Storage, check_protocol, is_url
from kinema.storage.options import StorageOptions, open_storage

__all__ = [
    "Direct",
    "Storage",
    "StorageOptions",
    "check_protocol",
    "is_temporary",
    "is_url",
    "open_storage",
    "remove_leftovers",
    "replacing",
    "replacing_folder",
    "settled",
    "standing",
    "unfinished",
    "write_text",
]
