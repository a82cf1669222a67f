"""Find directions that move an answer towards a label, and add them."""

from typing import Any

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.basis import Basis
from patchclamp.core.errors import PatchclampError
from patchclamp.core.intervention import At, Intervention, change
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

    Cost: stated by the method's card.
    """
    chosen = find_method(method or find_default("steer", "control"), "control")
    basis: Basis = chosen(subject, task, seed=seed, progress=progress, **options)
    return basis


@checked
def push(basis: Basis, strength: float, *, unit: Natural = 0, at: At = None) -> Intervention:
    """Return the intervention that adds a direction at its site: x′ = x + strength · d.

    Args:
        basis: directions with their site, as ``steer`` finds them.
        strength: in the site's own units of activation; below 0 it pushes the other way.
        unit: which direction.
        at: where; by default every position and every generated token.

    Returns:
        Intervention: ``add`` of strength · d.

    Raises:
        PatchclampError: a basis without a site or a direction of that number.

    Source: 2308.10248, and 2312.06681 with a difference of means.

    Example:
        >>> import numpy as np
        >>> basis = Basis("up", "directions", decoder=np.eye(2), site="blocks.0.resid_out")
        >>> push(basis, 3.0).value.tolist()
        [3.0, 0.0]
    """
    if basis.site is None or basis.decoder is None or unit >= basis.n_units:
        raise PatchclampError(
            expected="a basis of directions with their site, and the number of one",
            got=f"{basis.name} of {basis.n_units} at {basis.site or 'no site'}, unit {unit}",
            remedy="steer(subject, task) finds one; dataclasses.replace(basis, site=…) says where it belongs.",
        )
    return change("add", basis.site, value=strength * basis.decoder[unit], at=at)
