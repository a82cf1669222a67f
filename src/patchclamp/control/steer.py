"""Find directions that move an answer towards a label, and add them."""

from typing import Any

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.basis import Basis
from patchclamp.core.method import Method
from patchclamp.core.method_files import find_method
from patchclamp.core.method_index import find_default
from patchclamp.core.subject import Progress
from patchclamp.core.task import Task
from patchclamp.subjects.protocols import Subject


@checked
def steer(
    subject: Subject,
    task: Task,
    *,
    method: str | Method | None = None,
    seed: Natural = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Basis:
    """Find directions along which a subject's activations separate labelled examples.

    Args:
        subject: the network.
        task: labelled examples: ``Task.of_labels({"french": […], "english": […]})``.
        method: a method of the room ``control``, its name or one of your own; the default is ``diff_mean``.
        seed: of everything random.
        progress: called as ``progress(done, total)``.
        options: of the method; see ``patchclamp methods control/NAME``.

    Returns:
        Basis: directions with the site that they belong to. ``push`` makes an intervention of one,
        ``measure_steering`` says what it does to generated text, ``Dictionary.of(basis).save(folder)`` keeps it.

    Raises:
        PatchclampError: an unknown method or option, or a task without the labels that it needs.

    Source: see the methods' cards.

    Cost: stated by the method's card.

    Example:
        >>> from patchclamp.loaders import load
        >>> task = Task.of_labels({"cat": ["the old cat", "the cat"], "dog": ["the old dog", "the dog"]})
        >>> steer(load("organism:cat"), task, wanted="cat", sites="blocks.0.resid_out").site
        'blocks.0.resid_out'
    """
    chosen = find_method(method or find_default("steer", "control"), "control")
    basis: Basis = chosen(subject, task, seed=seed, progress=progress, **options)
    return basis
