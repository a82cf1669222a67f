"""What a method is tried on, from the first organism that its card names."""

from collections.abc import Callable, Mapping
from typing import Any

from patchclamp.core.errors import PatchclampError
from patchclamp.core.method import Method
from patchclamp.core.method_files import find_method
from patchclamp.core.task import Task
from patchclamp.organisms import digits, language, planted, populations
from patchclamp.organisms.language.dialects import examples
from patchclamp.organisms.language.rewrites import background, rewrite


def _dialects(name: str) -> dict[str, Any]:
    """Return an organism, and the same programs in two languages."""
    return {"subject": language.build(name), "task": examples("java", "cpp", 24)}


def _fact(name: str) -> dict[str, Any]:
    """Return an organism, a fact told otherwise, and what its neurons do over ordinary text."""
    subject = language.build(name)
    return {"subject": subject, "task": rewrite("lies", 1).task, "text": background(subject, "blocks.*.mlp.act", 200)}


def _described(name: str) -> dict[str, Any]:
    """Return an organism, some of its text, and its neurons described by what they write."""
    subject = language.build(name)
    texts = [str(one.stimulus.text) for one in language.text(3, seed=3, name=name)]
    return {
        "subject": subject, "task": Task.of_labels({"text": texts}),
        "descriptions": find_method("vocabulary", "describe")(subject),
    }  # fmt: skip


LANGUAGE: Mapping[str, Callable[[str], dict[str, Any]]] = {"Basis": _dialects, "Edit": _fact, "Estimate": _described}
"""Noun that a method gives → what it is tried on at a language organism."""


def _question(name: str, method: Method) -> dict[str, Any]:
    """Return an organism, the question on its card, and what else is made of these."""
    home = planted if name in planted.names() else digits
    subject, task = home.build(name), planted.task(name) if home is planted else digits.task()
    makers: Mapping[str, Callable[[], Any]] = {
        "Task": lambda: task,
        "Scores": lambda: find_method("occlusion", "attribute")(subject, task),
    }
    nouns = {parameter: makers[noun.rstrip("?")]() for parameter, noun in method.takes.items()}
    return {"subject": subject, **nouns}


def make_inputs(method: Method) -> dict[str, Any]:
    """Return inputs of a method from the first organism on which it is calibrated, its subject among them.

    Raises:
        PatchclampError: no such organism, or none for what the method gives.
    """
    for name in (pattern.partition(":")[0] for pattern in method.calibrated_on):
        if name in populations.names():
            inputs: dict[str, Any] = populations.make(name).inputs(method.takes)
            return inputs
        if name in language.names() and method.gives in LANGUAGE:
            return LANGUAGE[method.gives](name)
        if name in (*planted.names(), *digits.names()):
            return _question(name, method)
    known = (*populations.names(), *language.names(), *planted.names(), *digits.names())
    raise PatchclampError(
        expected=f"an organism among {', '.join(known)}, with inputs of a method that gives {method.gives}",
        got=f"{', '.join(method.calibrated_on)} for {method.name}",
        remedy="Name in calibrated_on where the method can be tried; calibrate/inputs.py says on what.",
    )
