"""Compare two layers, networks, people, brains, dictionaries or models: how alike they are."""

import importlib
from typing import TYPE_CHECKING, Any

from patchclamp.compare.dictionaries import DictionaryComparison, compare_dictionaries
from patchclamp.core.arguments import Natural, checked
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.errors import PatchclampError
from patchclamp.core.method import Method
from patchclamp.core.method_files import find_method
from patchclamp.core.method_index import find_default
from patchclamp.core.recording import Recording
from patchclamp.core.rooms import make_callable
from patchclamp.core.similarity import Similarity
from patchclamp.core.subject import Progress

if TYPE_CHECKING:
    from patchclamp.compare.models import compare_models as compare_models

__all__ = ["DictionaryComparison", "compare", "compare_dictionaries", "compare_models"]


def __getattr__(name: str) -> Any:
    # Models need torch, recordings and dictionaries do not.
    if name != "compare_models":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module("patchclamp.compare.models").compare_models


@checked
def compare(
    first: Recording | Dictionary,
    second: Recording | Dictionary,
    *,
    method: str | Method | None = None,
    seed: Natural = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Similarity | DictionaryComparison:
    """Compare two recordings of the same stimuli, or the directions of two dictionaries.

    Args:
        first: a recording, or a dictionary.
        second: another, of the same stimuli in the same order; or another dictionary of the same sites.
        method: a method of this room by name, or one of your own; by default ``rsa``. Dictionaries are compared in one
            way only, see ``compare_dictionaries``.
        seed: of everything random.
        progress: called with what is done and what there is in all.
        options: of the method; see ``patchclamp methods compare/NAME``.

    Returns:
        Similarity: an estimate with its interval, null and where it can be known its ceiling; of dictionaries a
            DictionaryComparison.

    Raises:
        PatchclampError: an unknown method or option, recordings of other stimuli, dictionaries without a common site,
            or a recording and a dictionary.

    Cost: stated by the method's card.

    Example:
        >>> from patchclamp.organisms.populations import make
        >>> brain = make("brain-linear")
        >>> compare(brain.features, brain.features).estimate.value
        1.0
    """
    if isinstance(first, Dictionary) and isinstance(second, Dictionary):
        if method is not None or options:
            raise PatchclampError(
                expected="two dictionaries without a method or its options",
                got=", ".join([*([] if method is None else ["method"]), *options]),
                remedy="Leave them out: directions are matched one to one.",
            )
        return compare_dictionaries(first, second, seed=seed)
    if isinstance(first, Dictionary) or isinstance(second, Dictionary):
        raise PatchclampError(
            expected="two recordings, or two dictionaries",
            got=f"a {type(first).__name__} and a {type(second).__name__}",
            remedy="Compare things of one kind.",
        )
    chosen = find_method(method or find_default("compare"), "compare")
    similarity: Similarity = chosen(first, second, seed=seed, progress=progress, **options)
    return similarity


make_callable(__name__, compare)
