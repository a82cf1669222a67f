"""The hash that says which model this is."""

import hashlib
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import nn

from patchclamp.core.disk import file_hash
from patchclamp.core.recording import as_numpy

AT_REST_NS = 2 * 10**9


def files_hash(files: Iterable[Path]) -> str:
    """SHA-256 over a model's files, by name; each file's hash is kept until the file changes.

    Cost: one read of the files the first time; then nothing that grows.
    """
    return _combine([(f.name, _hash_file(f)) for f in sorted(files, key=lambda f: f.name)])


def tokenizer_hash(tokenizer: Any) -> str:
    """SHA-256 over a tokenizer's vocabulary, rules and chat template."""
    if tokenizer is None:
        return ""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    template = json.dumps(getattr(tokenizer, "chat_template", None), sort_keys=True)
    return hashlib.sha256((rules + template).encode()).hexdigest()


def describe_structure(module: nn.Module) -> dict[str, Any]:
    """Return which network a module is, whatever its weights: the class of every part, every tensor's type and shape.

    Args:
        module: the network.

    Returns:
        dict: ``modules`` and ``tensors``, by name.

    Example:
        >>> describe_structure(nn.Linear(2, 1, bias=False))["tensors"]
        {'weight': 'float32 1 × 2'}
    """
    modules = {name: f"{type(one).__qualname__}({one.extra_repr()})" for name, one in module.named_modules()}
    tensors = {
        name: f"{str(x.dtype).removeprefix('torch.')} {' × '.join(map(str, x.shape))}".strip()
        for name, x in module.state_dict().items()
    }
    return {"modules": modules, "tensors": tensors}


def module_hash(module: nn.Module) -> str:
    """SHA-256 over a module's state, name by name. Cost: one pass over its parameters."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        # Quantised and offloaded tensors have no plain bytes; their description stands for them.
        plain = tensor.device.type != "meta" and type(tensor).__name__ in ("Tensor", "Parameter")
        digest.update(as_numpy(tensor).tobytes() if plain else repr(tensor).encode())
    return digest.hexdigest()


def _combine(named: list[tuple[str, str]]) -> str:
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()


def _hash_file(file: Path) -> str:
    """Return a file's hash, from the cache where the file is known to be the one that was read.

    Size and time of change of contents can be set by anybody (``cp -p``, ``rsync -t``); the time at which the file
    system last changed the file's entry cannot. Two changes within its clock's step look alike, so nothing is kept of
    a file that has not been at rest for a while.
    """
    state = _state(file)
    key = hashlib.sha256(os.fsencode(file.resolve()) + repr(state).encode()).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "patchclamp" / "hashes"
    entry = cache / key
    try:
        kept = entry.read_text(encoding="ascii")
        if kept == _entry(key, kept[:64]):
            return kept[:64]
    except (OSError, ValueError):
        pass
    digest = file_hash(file)
    if time.time_ns() - state[-1] < AT_REST_NS or _state(file) != state:
        return digest
    try:
        cache.mkdir(parents=True, exist_ok=True)
        part = entry.with_suffix(f".{os.getpid()}")
        part.write_text(_entry(key, digest), encoding="ascii")
        part.replace(entry)
    except OSError:
        pass  # a read-only home costs time, not correctness
    return digest


def _state(file: Path) -> tuple[int, ...]:
    stat = file.stat()
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _entry(key: str, found: str) -> str:
    """Return what the cache keeps of a file: its hash, and a check that the entry is whole and this file's."""
    return f"{found} {hashlib.sha256(f'{key}{found}'.encode()).hexdigest()}"
