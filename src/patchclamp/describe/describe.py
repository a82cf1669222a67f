"""Describe in words what units stand for."""

from typing import Any

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.descriptions import Descriptions
from patchclamp.core.method import Method
from patchclamp.core.method_files import find_method
from patchclamp.core.method_index import find_default
from patchclamp.core.subject import Progress


@checked
def describe(
    subject: Any,
    *nouns: Any,
    method: str | Method | None = None,
    seed: Natural = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Descriptions:
    """Describe the units of a subject.

    Args:
        subject: the network.
        nouns: what the method takes besides, such as a task.
        method: a method of the room ``describe`` by name, or one of your own; ``vocabulary`` by default.
        seed: of everything random.
        progress: called with what is done and what there is in all.
        options: of the method; see ``patchclamp methods describe/NAME``.

    Returns:
        Descriptions: a text for every unit, with its author and measures.

    Raises:
        PatchclampError: an unknown method or option, or a subject that lacks what the method needs.

    Cost: stated by the method's card.

    Example:
        >>> from patchclamp.loaders import load
        >>> words = describe(load("organism:cat"), tokens=1)
        >>> words.description("blocks.0.mlp.act/neurons/7").text
        ' sat'
    """
    chosen = find_method(method or find_default("describe"), "describe")
    descriptions: Descriptions = chosen(subject, *nouns, seed=seed, progress=progress, **options)
    return descriptions
