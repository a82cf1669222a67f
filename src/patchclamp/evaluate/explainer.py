"""Evaluate an explainer: its scores of a model's answers, compared with what the model does."""

from typing import Any

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate
from patchclamp.core.method import Method
from patchclamp.core.method_files import find_method
from patchclamp.core.method_index import methods
from patchclamp.core.subject import Progress
from patchclamp.core.task import Task


@checked
def evaluate_explainer(
    subject: Any,
    explainer: str | Method,
    task: Task,
    *,
    method: str | Method | None = None,
    seed: Natural = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Estimate:
    """Score a task's cases by an explainer, and evaluate the scores by a benchmark.

    Args:
        subject: the network.
        explainer: a method of the room ``attribute`` whose keys are regions, by name, or one of your own.
        task: images, each with the answer that is explained; ``own_answers`` makes one of a model's own.
        method: a benchmark that takes scores, by name, or one of your own; by default ``insertion_deletion``.
        seed: of everything random.
        progress: called with images done and in all, of the explainer and then of the benchmark.
        options: of the benchmark; see ``patchclamp methods evaluate/NAME``.

    Returns:
        Estimate: the benchmark's, with its interval and null.

    Raises:
        PatchclampError: an explainer whose keys are not regions, an unknown benchmark, or what these refuse.

    Source: that of the benchmark's card; of the default 1806.07421, section 3.

    Cost: those that the two cards state.

    Example:
        >>> from patchclamp.loaders import load
        >>> from patchclamp.subjects.images import own_answers
        >>> net = load("organism:digits-cnn")
        >>> found = evaluate_explainer(net, "occlusion", own_answers(net, "digits:17"), n_random=19)
        >>> found.value > found.null.high
        True
    """
    explain = find_method(explainer, "attribute")
    if "region" not in explain.keys:
        raise PatchclampError(
            expected="an explainer whose keys are regions",
            got=explain.name,
            remedy="`patchclamp methods --room attribute` says what each is keyed by.",
        )
    benchmark = find_method(method or default_benchmark("Scores"), "evaluate", kind="benchmark")
    scores = explain(subject, task, seed=seed, progress=progress)
    found: Estimate = benchmark(subject, task, scores, seed=seed, progress=progress, **options)
    return found


def default_benchmark(noun: str) -> str:
    """Return the name of the first benchmark that takes a noun.

    Args:
        noun: name of its class.

    Example:
        >>> default_benchmark("Scores")
        'insertion_deletion'
    """
    return next(card.name for card in methods("evaluate", kind="benchmark") if noun in card.data["takes"].values())
