"""Models that all tests of a process share, and whether a test left one otherwise than it was."""

from collections.abc import Callable
from typing import Any

_MADE: dict[tuple[str, str], tuple[Any, Any]] = {}


def share(make: Callable[[], Any], kind: str, name: str) -> Any:
    """Return the shared model of a kind and name, made where this is the first to ask."""
    if (kind, name) not in _MADE:
        model = make()
        _MADE[kind, name] = model, state_of(model)
    return _MADE[kind, name][0]


def state_of(model: Any) -> Any:
    """Return what a test may not change of a model that others use too."""
    from patchclamp.subjects.contract.laws import model_fingerprint

    # A method that a test replaced stands in the instance. Models of images have no tokenizer.
    rules = getattr(model, "tokenizer", None)
    return (
        model_fingerprint(model.module),
        list(model.bases),
        list(getattr(rules, "prefix", None) or ()),
        "run" in vars(model),
    )


def drop_changed() -> list[tuple[str, str]]:
    """Forget the models that are not as they were, and return their names."""
    changed = [key for key, (model, before) in _MADE.items() if state_of(model) != before]
    for key in changed:
        del _MADE[key]
    return changed
