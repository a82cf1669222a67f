"""Compare two layers, networks, people or brains: how alike they are."""

from typing import Any

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.method import Method
from patchclamp.core.method_files import find_method
from patchclamp.core.method_index import find_default
from patchclamp.core.recording import Recording
from patchclamp.core.rooms import make_callable
from patchclamp.core.similarity import Similarity
from patchclamp.core.subject import Progress

__all__ = ["compare"]


@checked
def compare(
    first: Recording,
    second: Recording,
    *,
    method: str | Method | None = None,
    seed: Natural = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Similarity:
    """Compare two recordings of the same stimuli.

    Args:
        first: a recording.
        second: another, of the same stimuli in the same order.
        method: a method of this room by name, or one of your own; by default ``rsa``.
        seed: of everything random.
        progress: called with what is done and what there is in all.
        options: of the method; see ``patchclamp methods compare/NAME``.

    Returns:
        Similarity: an estimate with its interval, null and where it can be known its ceiling.

    Raises:
        PatchclampError: an unknown method or option, or recordings of other stimuli.

    Cost: stated by the method's card.

    Example:
        >>> from patchclamp.organisms.populations import make
        >>> brain = make("brain-linear")
        >>> compare(brain.features, brain.features).estimate.value
        1.0
    """
    chosen = find_method(method or find_default("compare"), "compare")
    found: Similarity = chosen(first, second, seed=seed, progress=progress, **options)
    return found


make_callable(__name__, compare)
