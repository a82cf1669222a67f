"""Two small models that know one world, and that world's text with the concepts true of it.

The world, the words and the tasks are written by this package; so are the models, by ``recipe.train``.
"""

import json
from itertools import islice
from pathlib import Path
from typing import Any

from patchclamp.core.checks import one_of
from patchclamp.core.task import Case, Task
from patchclamp.core.task_files import measure_of
from patchclamp.organisms.language.concepts import CONCEPTS
from patchclamp.organisms.language.documents import TASKS, documents
from patchclamp.organisms.language.evaluate import Item, evaluate, items
from patchclamp.organisms.language.halves import text_of_half
from patchclamp.organisms.language.labelled import Labelled, label_documents
from patchclamp.organisms.language.train import NAMES
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.loading import load_language_model

__all__ = [
    "CONCEPTS",
    "TASKS",
    "Item",
    "Labelled",
    "build",
    "card",
    "evaluate",
    "folder",
    "names",
    "task",
    "tasks",
    "text",
    "text_of_half",
]


def names() -> tuple[str, ...]:
    """List the language organisms.

    Returns:
        tuple[str, ...]: their names.

    Example:
        >>> names()
        ('language-gpt2', 'language-llama')
    """
    return NAMES


def folder(name: str) -> Path:
    """Return the Hugging Face folder that an organism ships in.

    Raises:
        PatchclampError: no such organism.
    """
    one_of("organism", name, NAMES)
    return Path(__file__).parent / "data" / name


def build(name: str, *, device: str = "cpu", dtype: str | None = None) -> LanguageModel:
    """Load an organism from its shipped file.

    Args:
        name: one of ``names()``.
        device: ``cpu``, ``cuda``, ``mps``, or ``auto``.
        dtype: by default ``float32``; the file holds float16, which float32 holds exactly.

    Returns:
        LanguageModel: the organism in the rig.

    Raises:
        PatchclampError: no such organism, dtype or device.

    Example:
        >>> model = build("language-gpt2")
        >>> run = model.run("Mary and Tom went to the park. Tom gave a key to", logits=[-1])
        >>> model.tokenizer.token(run.logits[0, 0].argmax().item())
        ' Mary'
    """
    loaded = load_language_model(str(folder(name)), device=device, dtype=dtype or "float32")
    loaded.name = name
    return loaded


def card(name: str) -> dict[str, Any]:
    """Say what an organism can do: architecture, data, and what ``evaluate`` measured on the shipped file.

    Raises:
        PatchclampError: no such organism.

    Example:
        >>> card("language-llama")["tasks"]["agreement"]["accuracy"] > 0.9
        True
    """
    read: dict[str, Any] = json.loads((folder(name) / "card.json").read_text(encoding="utf-8"))
    return read


def text(
    n: int = 1000, *, seed: int = 0, held_out: bool = True, name: str = NAMES[0], model: LanguageModel | None = None
) -> list[Labelled]:
    """Write documents of the microworld as stimuli whose every token carries the concepts true of it.

    Args:
        n: how many documents.
        seed: the same seed writes the same documents.
        held_out: the side of the split: True writes only templates with fillers that training never saw together.
        name: whose tokenizer; both organisms have the same.
        model: an organism that is loaded already, instead of ``name``.

    Returns:
        list[Labelled]: the first ``n`` documents of the seed.

    Raises:
        PatchclampError: no such organism.

    Example:
        >>> [document] = text(1, seed=3)
        >>> len(document.concepts) == len(document.stimulus)
        True
    """
    rules = model.tokenizer.bare if model is not None else _rules(name)
    return label_documents(islice(documents(seed, held_out=held_out), n), rules)


def tasks(task: str, n: int = 500, *, seed: int = 0, held_out: bool = True, name: str = NAMES[0]) -> list[Item]:
    """List questions of a task as pairs: clean and corrupted prompt of equally many tokens, answer and wrong answer.

    Args:
        task: one of ``TASKS``.
        n: how many; fewer where the task has no more.
        seed: of the draw.
        held_out: the side of the split.
        name: whose tokenizer decides what is equally long.

    Returns:
        list[Item]: at most ``n``, each once.

    Raises:
        PatchclampError: no such task or organism.

    Example:
        >>> pair = tasks("ioi", 1)[0]
        >>> pair.answer != pair.wrong
        True
    """
    return items(task, _rules(name), n, seed=seed, held_out=held_out)


def task(kind: str, n: int = 64, *, seed: int = 0, held_out: bool = True, name: str = NAMES[0]) -> Task:
    """Return questions of a kind as a Task, each with its template as group; arguments as for ``tasks``.

    Returns:
        Task: at most ``n`` cases.

    Example:
        >>> task("ioi", 2).cases[0].group != ""
        True
    """
    cases = [
        # Where several answers are right, some are so after either prompt: they cannot tell the two apart.
        Case(
            item.clean,
            item.corrupted,
            tuple(sorted(item.line.answers - item.line.wrongs)),
            tuple(sorted(item.line.wrongs)),
            group=item.template,
        )
        for item in tasks(kind, n, seed=seed, held_out=held_out, name=name)
    ]
    return Task(tuple(cases), measure_of(cases), kind)


def _rules(name: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder(name), trust_remote_code=False)
