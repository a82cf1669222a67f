"""Ordinary GPT-2 and Llama models with weights set by hand, so that every node and edge is known."""

import importlib
import pkgutil
from typing import Any

import torch

from patchclamp.core.checks import one_of
from patchclamp.core.errors import PatchclampError
from patchclamp.core.graph import Graph
from patchclamp.core.task import Task
from patchclamp.organisms.planted import cat
from patchclamp.organisms.planted.card import card_of, graph_of
from patchclamp.organisms.planted.circuit_spec import CONTEXT, Circuit
from patchclamp.organisms.planted.compiler import ARCHITECTS
from patchclamp.organisms.planted.text import tokens_of, word_tokenizer
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.loading import DTYPES
from patchclamp.subjects.placement import is_shared, refuse_device


def find_circuits() -> dict[str, Circuit]:
    """Return every ``Circuit`` that a file of this folder holds, by name, file after file.

    Returns:
        dict[str, Circuit]: in alphabetical order of the files, then in the order of definition.

    Example:
        >>> list(find_circuits())[:2]
        ['copy', 'induction']
    """
    files = (importlib.import_module(f"{__name__}.{one.name}") for one in pkgutil.iter_modules(__path__))
    return {value.name: value for file in files for value in vars(file).values() if isinstance(value, Circuit)}


CIRCUITS = find_circuits()


def names() -> tuple[str, ...]:
    """List the planted organisms; see ``patchclamp.organisms.names``."""
    return ("cat", *(f"{circuit}-{architecture}" for circuit in CIRCUITS for architecture in ARCHITECTS))


def build(name: str, *, device: str = "cpu", dtype: str | None = None) -> LanguageModel:
    """Build a planted organism; see ``patchclamp.organisms.build``.

    Returns:
        LanguageModel: with its own tokenizer; weights are made anew each time.
    """
    _check_name(name)
    if dtype is not None:
        one_of("dtype", dtype, DTYPES)
    refuse_device(device)
    if is_shared(device):
        device = "cuda" if torch.cuda.is_available() else "cpu"
    module, tokenizer = _build_module(name)
    try:
        module = module.to(device=device, dtype=DTYPES[dtype or "float32"])
    except (RuntimeError, AssertionError, ImportError) as problem:
        raise PatchclampError(
            expected="a device of this machine", got=f"{device!r}: {problem}"[:160], remedy="Use --device cpu."
        ) from problem
    return LanguageModel(module, tokenizer, name=name)


def card(name: str) -> dict[str, Any]:
    """Say what is planted; see ``patchclamp.organisms.card``."""
    _check_name(name)
    return cat.card() if name == "cat" else card_of(*_parts(name))


def task(name: str, *, counterpart: bool = False) -> Task:
    """Return the question on a planted organism's card as a task of one case.

    Args:
        name: the organism.
        counterpart: with the corrupted prompt, whatever the card's baseline is.
    """
    about = card(name)
    other = about["corrupt"] if counterpart or about["baseline"] == "corrupted" else None
    return Task.of(about["prompt"], about["target"], contrast=about["contrast"], counterpart=other)


def truth(name: str) -> Graph:
    """Return the planted circuit; see ``patchclamp.organisms.truth``."""
    subject = build(name)
    return cat.truth(subject) if name == "cat" else graph_of(_parts(name)[0], subject)


def _build_module(name: str) -> tuple[Any, Any]:
    """Return a module and its tokenizer."""
    if name == "cat":
        return cat.module(), cat.tokenizer()
    circuit, architecture = _parts(name)
    return ARCHITECTS[architecture](circuit), word_tokenizer(tokens_of(circuit.vocabulary), context=CONTEXT)


def _parts(name: str) -> tuple[Circuit, str]:
    circuit, architecture = name.rsplit("-", 1)
    return CIRCUITS[circuit], architecture


def _check_name(name: str) -> None:
    one_of("organism", name, names())
