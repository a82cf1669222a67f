"""What a method is tried on, from the first organism that its card names."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from patchclamp.core.corpus import Corpus
from patchclamp.core.errors import PatchclampError
from patchclamp.core.exemplars import Exemplars
from patchclamp.core.method import Method
from patchclamp.core.method_files import find_method
from patchclamp.core.task import Task
from patchclamp.organisms import digits, language, planted, populations
from patchclamp.organisms.language.dialects import examples
from patchclamp.organisms.language.rewrites import background, rewrite
from patchclamp.record import survey_corpus
from patchclamp.record.stream import recordable


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
    [home] = [one for one in (planted, language, digits) if name in one.names()]
    subject = home.build(name)
    tasks = {planted: lambda: planted.task(name), language: lambda: examples("java", "cpp", 24), digits: digits.task}
    task: Callable[[], Any] = tasks[home]
    makers: Mapping[str, Callable[[], Any]] = {
        "Task": task,
        "Corpus": lambda: make_corpus(subject),
        "Exemplars": lambda: make_exemplars(subject),
        "Scores": lambda: find_method("occlusion", "attribute")(subject, task()),
    }
    nouns = {parameter: makers[noun.rstrip("?")]() for parameter, noun in method.takes.items()}
    return {"subject": subject, **nouns}


def make_corpus(subject: Any) -> Corpus:
    """Return a small corpus for an organism: words of its vocabulary in an order of chance, or digits."""
    if subject.name in digits.names():
        return Corpus("digits:0:40", "images")
    file = Path(_place().name) / f"{subject.name}.txt"
    if not file.exists():
        tokenizer, special = subject.tokenizer, subject.tokenizer.special
        words = sorted({tokenizer.token(id).strip() for id in tokenizer.bare.get_vocab().values() if id not in special})
        chosen = np.random.default_rng(0).choice([word for word in words if word.isascii() and word.isalpha()], 200)
        file.write_text("\n".join(" ".join(line) for line in chosen.reshape(-1, 10)), encoding="utf-8")
    return Corpus(file, window=20)


def make_exemplars(subject: Any) -> Exemplars:
    """Return what a survey of the small corpus finds for the units of a subject's first activations."""
    [site, *_] = [one for one in recordable(subject, "*") if one.kind.endswith("act")]
    with TemporaryDirectory() as folder:
        return survey_corpus(subject, make_corpus(subject), site.path, f"{folder}/new").exemplars(site.path)


@cache
def _place() -> TemporaryDirectory[str]:
    """Return a folder that lasts as long as the process: a corpus is read anew each time."""
    return TemporaryDirectory(prefix="patchclamp-corpora-")


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
        if name in (*planted.names(), *language.names(), *digits.names()):
            return _question(name, method)
    known = (*populations.names(), *language.names(), *planted.names(), *digits.names())
    raise PatchclampError(
        expected=f"an organism among {', '.join(known)}, with inputs of a method that gives {method.gives}",
        got=f"{', '.join(method.calibrated_on)} for {method.name}",
        remedy="Name in calibrated_on where the method can be tried; calibrate/inputs.py says on what.",
    )
