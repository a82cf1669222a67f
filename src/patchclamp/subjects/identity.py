"""Identity: the hash that says which model this is."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from torch import nn

from patchclamp.core.disk import file_hash
from patchclamp.core.recording import as_numpy


def folder_hash(folder: Path) -> str:
    """SHA-256 over a model folder's safetensors and config, each file's hash cached by path, size and time.

    Cost: one read of the weights the first time; then nothing that grows.
    """
    files = sorted([*folder.glob("*.safetensors"), folder / "config.json"])
    return _combine([(f.name, _cached(f)) for f in files if f.is_file()])


def tokenizer_hash(tokenizer: Any) -> str:
    """SHA-256 over a tokenizer's vocabulary, rules and chat template."""
    if tokenizer is None:
        return ""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    template = json.dumps(getattr(tokenizer, "chat_template", None), sort_keys=True)
    return hashlib.sha256((rules + template).encode()).hexdigest()


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


def _cached(file: Path) -> str:
    stat = file.stat()
    key = hashlib.sha256(f"{file.resolve()}|{stat.st_size}|{stat.st_mtime_ns}".encode()).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "patchclamp" / "hashes"
    entry = cache / key
    try:
        known = entry.read_text()
        if len(known) == 64:
            return known
    except OSError:
        pass
    found = file_hash(file)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        part = entry.with_suffix(f".{os.getpid()}")
        part.write_text(found)
        part.replace(entry)
    except OSError:
        pass  # a read-only home costs time, not correctness
    return found
