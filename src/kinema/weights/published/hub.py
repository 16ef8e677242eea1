"""Models of the Hugging Face hub, `hf:ORG/NAME[@REVISION]`: weights in safetensors and JSON, nothing else."""

import hashlib
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinema.errors import MissingPackage, UserError

log = logging.getLogger(__name__)

_ADDRESS = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
_SHARDS = "model.safetensors.index.json"


@dataclass(frozen=True)
class HubFiles:
    """Downloaded files of a repository."""

    weights: tuple[Path, ...]
    """Files of safetensors, `config.json` beside them."""
    sha256: tuple[str, ...]
    """Their SHA-256."""
    revision: str
    """Commit that they are of."""
    config: dict[str, Any]
    """Content of `config.json`."""


def hub_files(address: str) -> HubFiles:
    """Download the configuration and the weights of a repository to the hub's own cache (`HF_HOME`).

    Args:
        address: `hf:ORG/NAME` or `hf:ORG/NAME@REVISION`, a branch, tag or commit.

    Raises:
        UserError: `address` is malformed, there is no such repository, it has no safetensors, or it cannot be
            downloaded.
        MissingPackage: huggingface_hub is not installed.
    """
    parts = _ADDRESS.fullmatch(address)
    if parts is None:
        raise UserError(
            f"'{address}' is no address of the Hugging Face hub: expected hf:ORG/NAME or hf:ORG/NAME@REVISION"
        )
    repo, revision = parts["repo"], parts["revision"] or "main"
    with _faults_named(address):
        _check_connection(repo, revision)
        config = _download(repo, revision, "config.json")
        commit = _commit(config)
        for name in ("preprocessor_config.json", "video_preprocessor_config.json"):
            _download_if_any(repo, commit, name)
        weights = _weights(address, repo, commit)
    hashes = tuple(_checked(file) for file in weights)
    return HubFiles(weights, hashes, commit, json.loads(config.read_text(encoding="utf-8")))


def _check_connection(repo: str, revision: str) -> None:
    """Raise what a request to the hub raises if there is no connection, and the cache lacks the repository.

    Downloads try again for half a minute.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(try_to_load_from_cache(repo, "config.json", revision=revision), str):
        return
    with suppress(HfHubHTTPError):  # an answer
        get_hf_file_metadata(hf_hub_url(repo, "config.json", revision=revision))


def _weights(address: str, repo: str, commit: str) -> tuple[Path, ...]:
    if single := _download_if_any(repo, commit, "model.safetensors"):
        return (single,)
    index = _download_if_any(repo, commit, _SHARDS)
    if index is None:
        raise UserError(
            f"{address} has no model.safetensors, and other files of weights are not taken from the hub. If it has a "
            "pytorch_model.bin, download it with its config.json, and: kinema convert pytorch_model.bin "
            "--from transformers --output FOLDER"
        )
    names = sorted({*json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    return tuple(_download(repo, commit, name) for name in names)


def _download(repo: str, revision: str, name: str) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(repo, name, revision=revision, library_name="kinema"))


def _download_if_any(repo: str, revision: str, name: str) -> Path | None:
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return _download(repo, revision, name)
    except EntryNotFoundError as error:
        if _is_missing(error):
            return None
        raise  # no connection


def _is_missing(error: BaseException) -> bool:
    """Return whether a server has answered that there is no such file, repository or revision."""
    while getattr(getattr(error, "response", None), "status_code", None) != 404:
        if error.__cause__ is None:
            return False
        error = error.__cause__
    return True


def _commit(file: Path) -> str:
    """Return the commit that a file in the hub's cache is of: …/snapshots/COMMIT/config.json."""
    return file.parent.name


def _checked(file: Path) -> str:
    """Return the SHA-256 of a file, which the hub has as the name of the file's content in its cache."""
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    published = file.resolve().name
    if re.fullmatch(r"[0-9a-f]{64}", published) and published != found:
        raise UserError(f"{file} has the SHA-256 {found} instead of {published}: delete it to download it again")
    return found


@contextmanager
def _faults_named(address: str) -> Iterator[None]:
    """Raise `UserError` for what huggingface_hub raises in the block."""
    try:
        from huggingface_hub import errors
    except ImportError as error:
        raise MissingPackage(f"{address} needs huggingface_hub: pip install 'kinema[hub]'") from error
    try:
        yield
    except UserError:
        raise
    except errors.RevisionNotFoundError as error:
        raise UserError(f"{address}: the repository has no such revision") from error
    except errors.GatedRepoError as error:
        raise UserError(f"{address}: ask for access on its page, then `hf auth login`") from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(f"{address}: there is no such repository, or it is private (`hf auth login`)") from error
    except errors.EntryNotFoundError as error:
        if _is_missing(error):
            raise UserError(
                f"{address} has no config.json, or there is no such repository: pass a model of transformers or timm"
            ) from error
        raise _unreachable(address, error) from error
    except Exception as error:  # of httpx
        raise _unreachable(address, error) from error


def _unreachable(address: str, error: Exception) -> UserError:
    repo = address.removeprefix("hf:").partition("@")[0]
    return UserError(
        f"{address} is not in the cache of the Hugging Face hub and cannot be downloaded: {_reason(error)}. Where "
        f"there is access, run `hf download {repo}` and copy the folder that HF_HOME names, or set HF_ENDPOINT to a "
        "mirror"
    )


def _reason(error: BaseException) -> str:
    """Return the first line of an error's first cause."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return next(iter(str(error).splitlines()), "") or type(error).__name__
