"""Fetches the files of a Hugging Face model; each is kept only if it has the checksum that the hub lists."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import httpx
import huggingface_hub
from huggingface_hub import constants, errors
from huggingface_hub.utils import logging as hub_logging

from jobs.attempt.failure import is_full_disk
from jobs.inputs.manifest import size_text
from orchestrator.errors import InputError

Report = Callable[[str], None]
_SMALL = ("config.json", "generation_config.json", "tokenizer*")
# The first kind that a repository has is fetched. No pickle where there is something better.
_WEIGHTS = ("model*.safetensors", "*.safetensors", "pytorch_model*.bin", "*.bin")
_OTHER_WEIGHTS = ("consolidated*", "adapter*", "training_args.bin")
_ATTEMPTS = 3  # at a file; each goes on where the last was cut off
_CHUNK = 2**22  # bytes


@dataclass(frozen=True)
class HubFile:
    """A file as the hub lists it.

    Attributes:
        bytes: its size.
        algorithm: of the checksum: "sha256" of the content, or "git-sha1", by which git names it.
        checksum: in hexadecimal.
    """

    name: str
    bytes: int
    algorithm: str
    checksum: str

    def differs(self, path: Path) -> str:
        """How the file `path` differs from what the hub has; "" if it does not."""
        if (found := path.stat().st_size) != self.bytes:
            return f"has {found} bytes and not {self.bytes}"
        hashed = hashlib.sha256() if self.algorithm == "sha256" else hashlib.sha1(usedforsecurity=False)
        if self.algorithm == "git-sha1":
            hashed.update(f"blob {self.bytes}\0".encode())
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                hashed.update(chunk)
        return (
            "" if hashed.hexdigest() == self.checksum else f"has another {self.algorithm} than the hub says"
        )


@dataclass(frozen=True)
class Snapshot:
    """The files of a repository that LitGPT needs, at one commit.

    Attributes:
        small: configuration and tokenizer.
        weights: the weights, and their index if there is one.
    """

    repository: str
    commit: str
    small: tuple[HubFile, ...]
    weights: tuple[HubFile, ...]

    @property
    def bytes(self) -> int:
        """Size of all files together."""
        return sum(file.bytes for file in (*self.small, *self.weights))

    def record(self) -> dict[str, Any]:
        """Where the files came from, to be kept beside them."""
        return asdict(self)


def snapshot(repository: str) -> Snapshot:
    """The files to fetch of `repository`, as they are at the hub now.

    Raises:
        InputError: the hub cannot be reached or denies access, or the repository holds no weights.
    """
    with _one_line(repository):
        info = huggingface_hub.HfApi(endpoint=endpoint()).model_info(repository, files_metadata=True)
        files = [_listed(one) for one in info.siblings or [] if "/" not in one.rfilename]
        commit = str(info.sha)
    small = tuple(file for file in files if any(fnmatchcase(file.name, one) for one in _SMALL))
    return Snapshot(repository, commit, small, _weights(repository, files))


def fetch(found: Snapshot, files: Sequence[HubFile], folder: Path, report: Report) -> None:
    """Bring `files` into `folder`; what is there already is checked and kept.

    Raises:
        InputError: a file could not be fetched, or is not what the hub lists. Whole files stay for another
            try.
    """
    for file in files:
        if file in found.weights:
            report(f"model: {file.name}, {size_text(file.bytes)}")
        for last in (False,) * (_ATTEMPTS - 1) + (True,):
            if _fetched(found, file, folder, last=last):
                break


def _fetched(found: Snapshot, file: HubFile, folder: Path, *, last: bool) -> bool:
    """Fetch one file, or go on with it; True if it is whole, False if another attempt may help.

    Raises:
        InputError: it could not be fetched; after the `last` attempt also if it was cut off or is damaged.
    """
    path = folder / file.name
    with _one_line(found.repository):
        try:
            huggingface_hub.hf_hub_download(
                found.repository,
                file.name,
                revision=found.commit,
                local_dir=folder,
                endpoint=endpoint(),
            )
        except httpx.TransportError:  # the next attempt goes on where it was cut off
            if last:
                raise
            return False
        except (OSError, errors.HfHubHTTPError) as error:
            # Another length than announced, or the rest to fetch is not there: what came is of another file.
            if not _is_other_content(error):
                raise
            wrong = "is not as long as was announced"
        else:
            wrong = file.differs(path)
            if not wrong:
                return True
    path.unlink(missing_ok=True)
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    if last:
        raise InputError(
            f"model: {found.repository!r}: {file.name} as it came {wrong}: a proxy or the hub garbles it: "
            "try again later or from another network; nothing of it was kept"
        )
    return False


def _is_other_content(error: Exception) -> bool:
    """True if the error says that the hub's file is another one than what was fetched so far."""
    if isinstance(error, errors.HfHubHTTPError):
        return error.response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE
    return "Consistency check failed" in str(error)


def endpoint() -> str:
    """The address of the hub without a slash at its end: HF_ENDPOINT as it is now, else the usual one."""
    return os.environ.get("HF_ENDPOINT", constants.ENDPOINT).rstrip("/")


def _listed(sibling: Any) -> HubFile:
    """A file from its entry in the hub's list."""
    lfs = sibling.lfs
    if lfs is not None:
        return HubFile(sibling.rfilename, int(lfs.size), "sha256", lfs.sha256)
    return HubFile(sibling.rfilename, int(sibling.size), "git-sha1", sibling.blob_id)


def _weights(repository: str, files: Sequence[HubFile]) -> tuple[HubFile, ...]:
    """The weights, in the best format that the repository has, and their index if there is one.

    Raises:
        InputError: it has none.
    """
    candidates = [one for one in files if not any(fnmatchcase(one.name, other) for other in _OTHER_WEIGHTS)]
    for kind in _WEIGHTS:
        if chosen := [one for one in candidates if fnmatchcase(one.name, kind)]:
            index = [one for one in candidates if fnmatchcase(one.name, f"{kind}.index.json")]
            return (*index, *chosen)
    raise InputError(
        f"model: {repository!r}: holds no weights (*.safetensors or *.bin): name another repository, or give "
        "a LitGPT checkpoint directory"
    )


@contextmanager
def _one_line(repository: str) -> Iterator[None]:
    """Inside, all that the hub's library raises becomes an `InputError` of one line, without secrets."""
    verbosity = hub_logging.get_verbosity()
    hub_logging.set_verbosity(logging.ERROR)  # its warnings repeat signed addresses
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001 - it and what it stands on raise dozens of classes
        # The text of a cause may hold a token: it goes no further.
        raise InputError(f"model: {repository!r}: {_problem(repository, error)}") from None
    finally:
        hub_logging.set_verbosity(verbosity)


def _problem(repository: str, error: Exception) -> str:
    """What an error of the hub's library means and what to do, in one line without secrets."""
    page, has_token = f"{endpoint()}/{repository}", bool(huggingface_hub.get_token())
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None)
    status = getattr(response, "status_code", None)
    if isinstance(error, errors.OfflineModeIsEnabled) or isinstance(
        error.__cause__, errors.OfflineModeIsEnabled
    ):
        return (
            "could not be fetched: the environment says to stay offline: unset HF_HUB_OFFLINE for "
            "`prepare`, or give a LitGPT checkpoint directory"
        )
    if isinstance(error, errors.GatedRepoError) or status == httpx.codes.FORBIDDEN:
        token = "the one that is set may not read it" if has_token else "none is set"
        return without_secrets(
            f"is gated: accept its licence at {page}, and set HF_TOKEN to a token of that account ({token})"
        )
    if isinstance(error, errors.RepositoryNotFoundError) or status in (401, 404):
        token = "HF_TOKEN is set: is it valid?" if has_token else "HF_TOKEN is not set"
        return without_secrets(
            f"is not at {page} for us: check the name; if it is private or gated, accept its licence there "
            f"and set HF_TOKEN ({token}); or give a LitGPT checkpoint directory"
        )
    if is_full_disk(error):
        return "no space is left in the cache: make room and prepare again: it goes on from what came"
    if isinstance(error, errors.HFValidationError):
        return f"is neither a directory nor a name as org/name: {said(error)}"
    if status is not None:
        text = f"the hub answered with status {status}"
    elif isinstance(error, ValueError | KeyError | TypeError) or isinstance(
        error.__cause__, errors.FileMetadataError
    ):
        text = "what answered is no hub: an error page, or the page of a proxy that wants a login"
    else:
        known = error.__cause__ if isinstance(error, errors.LocalEntryNotFoundError) else None
        text = f"{type(known or error).__name__}: {said(known or error)}"
    return without_secrets(
        f"could not be fetched from {endpoint()}: {text}: check the network of this host, HF_ENDPOINT and "
        "the proxy variables, then `orchestrator prepare` again: it goes on from what came"
    )


def said(error: BaseException) -> str:
    """The text of `error` in one line of at most 300 characters, without secrets.

    They are removed before it is cut: half a secret would not be recognised.
    """
    return without_secrets(" ".join(str(error).split()))[:300]


def without_secrets(text: str) -> str:
    """`text` without tokens, passwords in addresses, and the queries that sign addresses."""
    given = {os.environ.get("HF_TOKEN", ""), os.environ.get("HUGGING_FACE_HUB_TOKEN", "")}
    given.add(huggingface_hub.get_token() or "")
    for secret in sorted(
        {part for one in given for part in (one, one.strip()) if part}, key=len, reverse=True
    ):
        text = text.replace(secret, "***").replace(repr(secret)[1:-1], "***")
    text = re.sub(r"://[^/@\s]+@", "://***@", text)
    return re.sub(r"(https?://[^\s?'\"]+)\?[^\s'\"]+", r"\1?***", text)
