"""Networks and recordings whose answer is known, without a download.

Every folder here holds organisms of one kind, and is found by listing. Its module has ``names()``. One of networks also
has ``build(name)`` and ``card(name)``, and ``task(name)`` and ``truth(name)`` where units are planted; one of
recordings, streams or activity has ``make``.

Planted circuits are made in code, weight by weight. Language organisms were trained on a microworld that is part of the
package, digits organisms on scikit-learn's images; their weights ship with the package, and so do their recipes.
"""

import importlib
import pkgutil
from functools import cache
from types import ModuleType
from typing import Any

from patchclamp.core.arguments import checked
from patchclamp.core.checks import one_of
from patchclamp.core.errors import PatchclampError
from patchclamp.core.graph import Graph
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.vision import VisionModel

__all__ = ["build", "card", "homes", "names", "truth"]


@cache
def homes() -> tuple[ModuleType, ...]:
    """Return the modules of all kinds of organism, one for each folder here.

    Example:
        >>> [home.__name__.rpartition(".")[2] for home in homes()][:2]
        ['digits', 'judges']
    """
    folders = sorted(one.name for one in pkgutil.iter_modules(__path__) if one.ispkg)
    return tuple(importlib.import_module(f"{__name__}.{name}") for name in folders)


@checked
def names() -> tuple[str, ...]:
    """List the organisms.

    Returns:
        tuple[str, ...]: what follows ``organism:``.

    Example:
        >>> "cat" in names()
        True
    """
    return tuple(name for home in homes() if hasattr(home, "build") for name in home.names())


@checked
def build(name: str, *, device: str = "cpu", dtype: str | None = None) -> LanguageModel | VisionModel:
    """Build an organism.

    Args:
        name: one of ``names()``.
        device: ``cpu``, ``cuda``, ``mps``, or ``auto`` (a GPU where there is one).
        dtype: ``float32``, ``bfloat16`` or ``float16``; by default float32, the only one in which the card's
            numbers are exact.

    Returns:
        LanguageModel | VisionModel: the organism in the rig; the same weights every time.

    Raises:
        PatchclampError: no such organism, dtype or device.

    Example:
        >>> build("cat").generate("the old cat")[0].text
        ' sat on the mat.'
    """
    subject: LanguageModel | VisionModel = _home(name).build(name, device=device, dtype=dtype)
    return subject


@checked
def truth(name: str) -> Graph:
    """Return the planted circuit behind an organism's answer.

    Args:
        name: one of ``names()``, a planted one.

    Returns:
        Graph: every node and edge that carries the answer to the card's prompt, and no other; ``about`` says what
        scores and weights mean; a unit's ``effect`` is what replacing it alone by the card's baseline takes from m.

    Raises:
        PatchclampError: no such organism, or one that was trained.

    Example:
        >>> [node.key for node in truth("cat").nodes if node.kind == "neuron"]
        ['cat/blocks.0.mlp.act/neurons/7@3', 'cat/blocks.0.mlp.act/neurons/5@3']
    """
    home = _home(name)
    if not hasattr(home, "truth"):
        planted = [one for home in homes() if hasattr(home, "truth") for one in home.names()]
        raise PatchclampError(
            expected="an organism with a planted circuit",
            got=f"{name}, which was trained: what it has learnt is known, its circuits are not",
            remedy=f"Planted are {', '.join(planted)}.",
        )
    circuit: Graph = home.truth(name)
    return circuit


@checked
def card(name: str) -> dict[str, Any]:
    """Say what is planted in an organism, and which methods must miss it.

    Args:
        name: one of ``names()``.

    Returns:
        dict[str, Any]: JSON-ready data. Every card has ``name circuit architecture what prompt corrupt baseline target
        contrast logit_difference``, ``true`` (node keys with position), ``effects`` (true node to m(clean) − m(clean
        with it replaced by the baseline)), ``decoys`` (unit, activation, why_inert), ``must_find`` (methods that rank
        the true nodes first) and ``must_miss`` (method to why it cannot); ``either`` (nodes, effect) where any one of
        some nodes is enough. Numbers are those of float32. A language organism has no true nodes; its card has
        ``tasks`` (accuracy, interval, chance; ``corrupted``, the same on the other side of every pair), ``loss``,
        ``neurons`` (the best one per concept) and ``training``; a digits organism has the same but for neurons and
        other sides, and its prompt is an image.

    Raises:
        PatchclampError: no such organism.

    Example:
        >>> card("cat")["decoy"]["activation"]
        9.0
    """
    return dict(_home(name).card(name))


def _home(name: str) -> Any:
    one_of("organism", name, names())
    return next(home for home in homes() if hasattr(home, "build") and name in home.names())


# Loading them makes each an attribute of this module: `organisms.planted`.
homes()
