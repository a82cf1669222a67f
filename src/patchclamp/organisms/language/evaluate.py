"""Accuracy on every task, loss, and how well single neurons tell the labelled concepts."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Any

import torch

from patchclamp.core.errors import PatchclampError
from patchclamp.core.stats import wilson_interval
from patchclamp.organisms.language.code import CODE_TASKS
from patchclamp.organisms.language.documents import CHANCES, OPENINGS, TASKS, documents, line_of
from patchclamp.organisms.language.labelled import Labelled, label_documents
from patchclamp.organisms.language.labelled_line import Line, add_opening
from patchclamp.organisms.language.neurons import best_neurons
from patchclamp.subjects.language import LanguageModel

BATCH = 100


@dataclass(frozen=True)
class Item:
    """Hold one question: a clean and a corrupted prompt of equally many tokens, with the answer to each.

    Args:
        task: what is asked.
        template: which template.
        filler: the words that make it particular.
        clean: the prompt.
        corrupted: a prompt whose right continuation is ``wrong``.
        answer: what follows the clean prompt.
        wrong: what follows the corrupted prompt.
        answers: the first tokens that count as right after the clean prompt.
        wrongs: those that count as right after the corrupted prompt.
        line: the whole line, with its concepts.
    """

    task: str
    template: str
    filler: tuple[str, ...]
    clean: str
    corrupted: str
    answer: str
    wrong: str
    answers: frozenset[int]
    wrongs: frozenset[int]
    line: Line


def items(task: str, rules: Any, n: int = 500, *, seed: int = 0, held_out: bool = True) -> list[Item]:
    """Draw different questions of a task from one side of the split.

    Args:
        task: one of ``TASKS``.
        rules: the organism's tokenizer (``LanguageModel.tokenizer.bare``).
        n: how many; fewer where the task has no more. Where a task has few pairs, they come again after an opening.
        seed: of the draw.
        held_out: the side of the split; False gives questions like those of the training text.

    Returns:
        list[Item]: at most ``n``, each once.

    Raises:
        PatchclampError: no such task.
    """
    rng = Random(f"items/{task}/{seed}/{held_out}")
    by_prompt: dict[str, Item] = {}
    for _ in range(40 * n):
        line = line_of(task, rng, held_out=held_out)
        if line.prompt in by_prompt and task not in CODE_TASKS:
            line = add_opening(line, rng.choice(OPENINGS))
        item = None if line.prompt in by_prompt else _item(line, rules)
        if item is not None:
            by_prompt[item.clean] = item
        if len(by_prompt) == n:
            break
    return list(by_prompt.values())


def _item(line: Line, rules: Any) -> Item | None:
    """Make a pair of a line; None where the two prompts or answers cannot be compared token by token."""

    def ids(text: str) -> list[int]:
        return list(rules(text, add_special_tokens=False)["input_ids"])

    clean, corrupted = ids(line.prompt), ids(line.corrupted)
    right, wrong = ids(line.prompt + line.answer), ids(line.corrupted + line.wrong)
    whole = right[: len(clean)] == clean and wrong[: len(corrupted)] == corrupted
    if not whole or len(clean) != len(corrupted) or right[len(clean)] == wrong[len(clean)]:
        return None
    answers = frozenset(ids(line.prompt + answer)[len(clean)] for answer in line.answers)
    wrongs = frozenset(ids(line.corrupted + answer)[len(corrupted)] for answer in line.wrongs)
    return Item(
        line.task,
        line.template,
        line.filler,
        line.prompt,
        line.corrupted,
        line.answer,
        line.wrong,
        answers,
        wrongs,
        line,
    )


def accuracy(model: LanguageModel, asked: Sequence[Item], *, corrupted: bool = False) -> int:
    """Count the questions whose likeliest next token, of the whole vocabulary, is right.

    Args:
        model: the model.
        asked: what.
        corrupted: ask the other side of every pair, where the wrong answer is the right one.

    Returns:
        int: how many, of ``len(items)``.

    Cost: one forward pass per hundred questions.
    """
    right = 0
    for start in range(0, len(asked), BATCH):
        some = asked[start : start + BATCH]
        prompts = [item.corrupted if corrupted else item.clean for item in some]
        said = model.run(prompts, logits=[-1]).logits[:, 0].argmax(-1).tolist()
        right += sum(
            token in (item.wrongs if corrupted else item.answers) for token, item in zip(said, some, strict=True)
        )
    return right


def accuracies(
    model: LanguageModel, n: int = 500, *, seed: int = 0, tasks: Sequence[str] = tuple(TASKS)
) -> dict[str, dict[str, Any]]:
    """Measure every task on held-out questions, from both sides of every pair.

    A model that has found another rule than the task's own can be right on every clean prompt; asked with what decides
    the answer changed and all else left, it says the same again.

    Returns:
        dict: per task ``accuracy``, its 95 % Wilson ``interval``, ``n``, ``chance``, and ``corrupted``: the accuracy
        on the corrupted prompts with its interval. Their fillers need not be held out.

    Raises:
        PatchclampError: a task without questions.
    """
    shares = {}
    for task in tasks:
        asked = items(task, model.tokenizer.bare, n, seed=seed)
        if not asked:
            raise PatchclampError(
                expected=f"questions of the task {task}", got="none", remedy="Use the organism's own tokenizer."
            )
        clean, corrupted = (_share(accuracy(model, asked, corrupted=side), len(asked)) for side in (False, True))
        shares[task] = {**clean, "n": len(asked), "chance": round(CHANCES[task], 4), "corrupted": corrupted}
    return shares


def _share(right: int, n: int) -> dict[str, Any]:
    interval = wilson_interval(right, n)
    return {"accuracy": round(right / n, 4), "interval": [round(interval.low, 4), round(interval.high, 4)]}


def loss(model: LanguageModel, texts: Sequence[Labelled]) -> float:
    """Return the mean cross-entropy in nats per token of documents, each shown alone.

    Cost: one forward pass per hundred documents.
    """
    total, n = 0.0, 0
    for start in range(0, len(texts), BATCH):
        some = [one.stimulus for one in texts[start : start + BATCH]]
        scores = model.run(some).logits.float().log_softmax(-1)
        for row, stimulus in zip(scores, some, strict=True):
            ids = torch.from_numpy(stimulus.ids[1:])[:, None].to(row.device)
            total -= float(row[: len(ids)].gather(1, ids).sum())
            n += len(ids)
    return total / n


def evaluate(model: LanguageModel, *, n: int = 500, documents_read: int = 6000, seed: int = 1) -> dict[str, Any]:
    """Measure an organism on held-out text and questions: what its card says is made of this.

    Args:
        model: the organism, as loaded from its file.
        n: questions per task.
        documents_read: documents for the loss and for the neurons' AUROC.
        seed: of questions and documents.

    Returns:
        dict: ``tasks``, ``loss`` (nats per token), and ``neurons``: the best one for each concept.

    Cost: a minute or two on one core.
    """
    texts = label_documents(islice(documents(seed, held_out=True), documents_read), model.tokenizer.bare)
    return {
        "tasks": accuracies(model, n, seed=seed),
        "loss": round(loss(model, texts), 4),
        "neurons": best_neurons(model, texts),
    }
