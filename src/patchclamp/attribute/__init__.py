"""Attribute a metric to neurons, heads, features and edges."""

from typing import Any

from patchclamp.ablate import Baseline
from patchclamp.attribute.nodes import LEVELS
from patchclamp.attribute.prompt import attribute_nodes
from patchclamp.core.arguments import Natural, checked
from patchclamp.core.method import Method
from patchclamp.core.method_files import find_method
from patchclamp.core.method_index import find_default
from patchclamp.core.rooms import make_callable
from patchclamp.core.scores import Scores
from patchclamp.core.subject import Progress
from patchclamp.core.task import Task

__all__ = ["LEVELS", "Baseline", "attribute", "attribute_nodes"]


@checked
def attribute(
    subject: Any,
    task: Task,
    *,
    method: str | Method | None = None,
    seed: Natural = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Scores:
    """Score a subject's units or edges over a task's cases, by a method of this room or one of your own.

    Args:
        subject: the network.
        task: cases, and the answers that m reads.
        method: its name, or a Method; the default is that of the verb ``attribute``.
        seed: of everything random.
        progress: called as ``progress(done, total)``.
        options: of the method; see ``patchclamp methods attribute/NAME``.

    Returns:
        Scores: one per key, in units of the task's m.

    Raises:
        PatchclampError: an unknown method or option, or a subject or task that the method cannot use.

    Cost: stated by the method's card.

    Example:
        >>> from patchclamp.loaders import load
        >>> task = Task.of("the old cat", " sat", contrast=" ran")
        >>> str(attribute(load("organism:cat"), task).top(1)[0])
        'cat/blocks.0.mlp.act/neurons/7@3'
    """
    scores: Scores = find_method(method or find_default("attribute"), "attribute")(
        subject, task, seed=seed, progress=progress, **options
    )
    return scores


make_callable(__name__, attribute)
