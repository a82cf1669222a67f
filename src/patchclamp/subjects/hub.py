"""How the hub is reached: quietly, only where there is a network, and with the reason where it gives nothing."""

import os
import socket
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from patchclamp.core.errors import PatchclampError

NEAR = 3
"""How many names are suggested in the place of one that is not there."""


def hub_options() -> dict[str, Any]:
    """Return the options under which huggingface_hub fetches files: from its cache alone where no network is.

    Without a network it would try each file six times, for half a minute, and print each attempt.

    Returns:
        dict[str, Any]: ``local_files_only``.

    Cost: one lookup of the hub's name.
    """
    from huggingface_hub.utils import logging

    logging.set_verbosity(logging.CRITICAL)  # its retries; the error that follows says what failed
    return {"local_files_only": not _is_known(_host())}


def split_revision(name: str) -> tuple[str, str | None]:
    """Return a repository's name, and the branch, tag or commit behind its last ``@``; None where there is none.

    Example:
        >>> split_revision("EleutherAI/pythia-70m@step1000"), split_revision("gpt2")
        (('EleutherAI/pythia-70m', 'step1000'), ('gpt2', None))
    """
    bare, at, revision = name.rpartition("@")
    return (bare, revision) if at and bare and revision else (name, None)


class Repository:
    """Fetch files of one repository of the hub, all of one commit.

    Args:
        name: ``owner/repository``, with ``@`` and a branch, tag or commit behind it where not the newest is meant.
    """

    def __init__(self, name: str) -> None:
        self.called = name
        self.name, self.revision = split_revision(name)
        self.reach = hub_options()
        self.away: Exception | None = None

    def fetch(self, file: str) -> Path | None:
        """Return where a file lies in the cache, fetched if need be; None where the repository has none of that name.

        Without a network, what is not in the cache may be on the hub or not: ``away`` then says why.

        Raises:
            PatchclampError: no such repository or revision, no leave to read it, or a connection that broke off.
        """
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        reach = self.reach if self.away is None else {"local_files_only": True}
        try:
            found = Path(hf_hub_download(self.name, file, revision=self.revision, **reach))
        except LocalEntryNotFoundError as problem:
            self.away = problem
            return None
        except EntryNotFoundError:
            return None
        except Exception as problem:  # the hub's own errors, the network's and the disk's
            raise self._refusal(problem, file) from problem
        # The snapshot's folder is named by its commit: what is fetched next belongs to it.
        self.revision = found.parent.name
        return found

    def lacking(self, files: str) -> PatchclampError:
        """Return the complaint that a repository has none of some files, or that nobody knows without a network."""
        if self.away is not None:
            return self._refusal(self.away, files)
        return PatchclampError(
            expected=f"a model in the repository {self.called}",
            got=f"none: it has no {files}{_other_files(self.name, self.revision)}",
            remedy="Name a repository with config.json and safetensors weights.",
        )

    def _refusal(self, problem: Exception, file: str) -> PatchclampError:
        """Return what the hub, the network or the disk raised as expected, got, to do."""
        from huggingface_hub import constants, errors

        expected = f"{file} of {self.called}, from the Hugging Face hub"
        if isinstance(problem, errors.GatedRepoError):
            return PatchclampError(
                expected=expected,
                got=f"a model whose licence must be accepted first ({_status(problem)})",
                remedy=f"Accept it on {constants.ENDPOINT}/{self.name}, and log in with `hf auth login`.",
            )
        if isinstance(problem, errors.RepositoryNotFoundError):
            return PatchclampError(
                expected=expected,
                got=f"no such repository ({_status(problem)}), or a private one",
                remedy=_suggest_names(self.name) + "Check the name; of a private one log in with `hf auth login`.",
            )
        if isinstance(problem, errors.RevisionNotFoundError):
            return PatchclampError(
                expected=expected,
                got=f"no branch, tag or commit {self.revision!r} in {self.name}",
                remedy=_revisions(self.name, str(self.revision)),
            )
        kept = Path(constants.HF_HUB_CACHE) / f"models--{self.name.replace('/', '--')}"
        if kept.exists() and not os.access(kept, os.R_OK | os.X_OK):
            return PatchclampError(
                expected=expected,
                got=f"{kept} in the hub's cache, which this user may not read",
                remedy="Give yourself leave to read that folder, or let HF_HOME name another.",
            )
        if isinstance(problem, errors.LocalEntryNotFoundError):
            return PatchclampError(
                expected=expected,
                got="no folder of that name, nothing in the hub's cache, and no connection to the hub"
                + (" (HF_HUB_OFFLINE is set)" if constants.is_offline_mode() else ""),
                remedy="Check the name and the connection, or give a local folder.",
            )
        if isinstance(problem, errors.HFValidationError):
            return PatchclampError(
                expected="a folder, or a name on the Hugging Face hub (owner/repository)",
                got=f"{self.called!r}, neither",
                remedy="Check the path.",
            )
        return PatchclampError(expected=expected, got=_words_of(problem), remedy=_what_to_do(problem))


def _host() -> str | None:
    from huggingface_hub import constants

    return urlsplit(os.environ.get("HF_ENDPOINT", constants.ENDPOINT)).hostname


def _is_known(host: str | None) -> bool:
    """Return whether a host's name leads to an address; a proxy may know names that this machine does not."""
    if host is None or getproxies():
        return True
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True


def _status(problem: Any) -> str:
    return f"the hub answers {problem.response.status_code}"


def _words_of(problem: Exception) -> str:
    return f"{type(problem).__name__}: {problem}".strip().splitlines()[0][:200]


def _what_to_do(problem: Exception) -> str:
    status = getattr(getattr(problem, "response", None), "status_code", None)
    if status in (401, 403):
        return "The hub does not take this token, or it may not read this repository: `hf auth login` makes another."
    if status is not None:
        return "The hub does not serve it now: try again later."
    if getattr(problem, "errno", None) == 28 or "disk space" in str(problem):
        return "The disk is full: free some space, or let HF_HOME name a folder on another disk."
    if isinstance(problem, PermissionError):
        return "The cache cannot be written: let HF_HOME name a folder that can."
    return "The connection broke off: try again. Files that came whole are kept; this one begins anew."


def _suggest_names(name: str) -> str:
    """Return a question that names similar repositories: those in the cache, and those that the hub finds."""
    from huggingface_hub import HfApi, constants

    known = {folder.name for folder in Path(constants.HF_HUB_CACHE).glob("models--*")}
    names = {one.removeprefix("models--").replace("--", "/") for one in known} - {name}
    try:
        found = HfApi().list_models(search=name.rpartition("/")[2], limit=10)
        names |= {str(model.id) for model in found}
    except Exception:  # a suggestion is not worth an error
        pass
    short = {one.rpartition("/")[2].casefold(): one for one in sorted(names)}
    close = get_close_matches(name, sorted(names), n=NEAR)
    close += [short[one] for one in get_close_matches(name.rpartition("/")[2].casefold(), sorted(short), n=NEAR)]
    near = list(dict.fromkeys(close))[:NEAR]
    return f"Did you mean {' or '.join(near)}? " if near else ""


def _revisions(name: str, wanted: str) -> str:
    from huggingface_hub import HfApi

    try:
        refs = HfApi().list_repo_refs(name)
        names = [ref.name for ref in (*refs.branches, *refs.tags)]
    except Exception:  # a suggestion is not worth an error
        return "Check the revision on the hub."
    near = get_close_matches(wanted, names, n=NEAR, cutoff=0.4) or names[:NEAR]
    more = f" ({len(names):,} in all)" if len(names) > len(near) else ""
    return f"It has {', '.join(near)}{more}."


def _other_files(name: str, revision: str | None) -> str:
    from huggingface_hub import HfApi

    try:
        files = HfApi().list_repo_files(name, revision=revision)
    except Exception:  # what else lies there is only told
        return ""
    kinds = sorted({Path(file).suffix for file in files} & {".gguf", ".bin", ".pt", ".pth", ".onnx", ".safetensors"})
    return f", but {', '.join(kinds)} files" if kinds else ""
