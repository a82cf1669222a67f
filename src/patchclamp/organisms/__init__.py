"""Organisms: networks whose answer is known, made in code, without a download."""

from typing import Any

from patchclamp.core.graph import Graph
from patchclamp.organisms import planted
from patchclamp.subjects.language import LanguageModel

__all__ = ["build", "card", "names", "truth"]


def names() -> tuple[str, ...]:
    """List the organisms.

    Returns:
        tuple[str, ...]: what follows ``organism:``.

    Example:
        >>> "cat" in names()
        True
    """
    return planted.names()


def build(name: str, *, device: str = "cpu", dtype: str | None = None) -> LanguageModel:
    """Build an organism.

    Args:
        name: one of ``names()``.
        device: ``cpu``, ``cuda``, ``mps``, or ``auto`` (a GPU where there is one).
        dtype: ``float32``, ``bfloat16`` or ``float16``; float32 where left out, the only one in which the card's
            numbers are exact.

    Returns:
        LanguageModel: the organism in the rig; the same weights every time.

    Raises:
        PatchclampError: no such organism, dtype or device.

    Example:
        >>> build("cat").generate("the old cat")[0].text
        ' sat on the mat.'
    """
    return planted.build(name, device=device, dtype=dtype)


def truth(name: str) -> Graph:
    """Return the planted circuit behind an organism's answer.

    Args:
        name: one of ``names()``.

    Returns:
        Graph: every node and edge that carries the answer to the card's prompt, and no other; ``about`` says what
        scores and weights mean; a unit's ``effect`` is what replacing it alone by the card's reference takes from m.

    Raises:
        PatchclampError: no such organism.

    Example:
        >>> [node.key for node in truth("cat").nodes if node.kind == "neuron"]
        ['cat/blocks.0.mlp.act/neurons/7@3', 'cat/blocks.0.mlp.act/neurons/5@3']
    """
    return planted.truth(name)


def card(name: str) -> dict[str, Any]:
    """Say what is planted in an organism, and which methods must miss it.

    Args:
        name: one of ``names()``.

    Returns:
        dict[str, Any]: JSON-ready data. Every card has ``name circuit architecture what prompt corrupt reference target
        contrast logit_difference``, ``true`` (node keys with position), ``effects`` (true node to m(clean) − m(clean
        with it replaced by the reference)), ``decoys`` (unit, activation, why_inert), ``must_find`` (methods that rank
        the true nodes first) and ``must_miss`` (method to why it cannot); ``either`` (nodes, effect) where any one of
        some nodes is enough. Numbers are those of float32.

    Raises:
        PatchclampError: no such organism.

    Example:
        >>> card("cat")["decoy"]["activation"]
        9.0
    """
    return planted.card(name)
