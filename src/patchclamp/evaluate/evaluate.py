"""Evaluate a noun: a circuit, a dictionary, an explainer or descriptions, each by what is known of its kind."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from patchclamp.ablate.steering import SteeringEffect, measure_steered
from patchclamp.core.arguments import Natural, checked
from patchclamp.core.basis import Basis
from patchclamp.core.description import Description
from patchclamp.core.descriptions import Descriptions
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate
from patchclamp.core.method import Method
from patchclamp.core.method_files import find_method
from patchclamp.core.scores import Scores
from patchclamp.core.stats import mean_interval
from patchclamp.core.subject import Progress
from patchclamp.core.task import Task
from patchclamp.evaluate.circuit_report import Faithfulness
from patchclamp.evaluate.dictionary import DictionaryReport, evaluate_dictionary
from patchclamp.evaluate.explainer import default_benchmark, evaluate_explainer
from patchclamp.evaluate.faithfulness import evaluate_circuit


@checked
def evaluate(
    noun: Any,
    subject: Any = None,
    on: Any = None,
    *,
    seed: Natural = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Any:
    r"""Evaluate a noun on what it was not made from.

    | noun | on | gives |
    |---|---|---|
    | Scores, a circuit | a Task of pairs | Faithfulness, see ``evaluate_circuit`` |
    | Dictionary, Basis | the path of a text | DictionaryReport, see ``evaluate_dictionary`` |
    | Dictionary of one site, Basis | a Task of prompts | SteeringEffect, see ``measure_steered`` |
    | Method, an explainer, or its name | a Task of images | Estimate, see ``evaluate_explainer`` |
    | Descriptions | a Task of prompts | Estimate of a benchmark, see ``evaluate_descriptions`` |
    | a list of Description | – | Estimates of their scores by measure, see ``summarise_scores`` |

    Args:
        noun: what is evaluated.
        subject: the network; a list of descriptions needs none.
        on: what it is evaluated on.
        seed: of everything random.
        progress: called with what is done and what there is in all.
        options: further arguments of the function that the table names.

    Returns:
        As the table says.

    Raises:
        PatchclampError: a noun that cannot be evaluated, or what the function refuses.

    Source: that of the function or benchmark that the table names.

    Cost: stated by the function that the table names.

    Example:
        >>> from patchclamp.core.unit import UnitKey
        >>> scored = Estimate(0.5, None, 20, "AUROC"), Estimate(0.7, None, 20, "AUROC")
        >>> words = [Description(UnitKey("a", i), "cats", "model/x", scores=(one,)) for i, one in enumerate(scored)]
        >>> round(evaluate(words)["AUROC"].value, 2)
        0.6
    """
    for kind, run in _EVALUATORS.items():
        if isinstance(noun, kind):
            return run(noun, subject, on, seed=seed, progress=progress, **options)
    raise PatchclampError(
        expected=f"one of {', '.join(kind.__name__ for kind in _EVALUATORS)}",
        got=type(noun).__name__,
        remedy="help(patchclamp.evaluate) says what each is evaluated on.",
    )


@checked
def evaluate_descriptions(
    subject: Any,
    descriptions: Descriptions,
    task: Task,
    *,
    method: str | Method | None = None,
    seed: Natural = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Estimate:
    """Evaluate descriptions of a network's units by a benchmark.

    Args:
        subject: the network.
        descriptions: of its units.
        task: prompts.
        method: a benchmark that takes descriptions, by name, or one of your own; by default ``token_effect``.
        seed: of everything random.
        progress: called with what is done and what there is in all.
        options: of the benchmark; see ``patchclamp methods evaluate/NAME``.

    Returns:
        Estimate: the benchmark's, with its interval and null.

    Raises:
        PatchclampError: an unknown benchmark, or what it refuses.

    Source: that of the benchmark's card; of the default 2501.02688.

    Cost: stated by the benchmark's card.
    """
    benchmark = find_method(method or default_benchmark("Descriptions"), "evaluate", kind="benchmark")
    found: Estimate = benchmark(subject, task, descriptions, seed=seed, progress=progress, **options)
    return found


@checked
def summarise_scores(descriptions: Sequence[Description], *, seed: Natural = 0) -> dict[str, Estimate]:
    """Summarise the scores that descriptions have: their mean by measure, over descriptions.

    Args:
        descriptions: as an atlas or a layer holds them.
        seed: of the resampling of descriptions.

    Returns:
        measure → mean with its interval over descriptions, of which there are ``n``.

    Raises:
        PatchclampError: no description has a score.

    Cost: a bootstrap per measure.
    """
    values: dict[str, list[float]] = {}
    for one in descriptions:
        for score in one.scores:
            if np.isfinite(score.value):
                values.setdefault(score.unit, []).append(score.value)
    if not values:
        raise PatchclampError(
            expected="descriptions with scores",
            got=f"{len(descriptions):,} without any",
            remedy="Score them first: a benchmark of the room evaluate runs on what describe wrote.",
        )
    return {
        unit: Estimate(
            float(np.mean(column)),
            mean_interval(np.array(column), seed=seed) if len(column) > 1 else None,
            len(column),
            unit,
        )
        for unit, column in values.items()
    }


def _circuit(circuit: Scores, subject: Any, on: Any, **options: Any) -> Faithfulness:
    return evaluate_circuit(subject, circuit, on, **options)


def _dictionary(found: Dictionary | Basis, subject: Any, on: Any, **options: Any) -> DictionaryReport | SteeringEffect:
    if isinstance(on, Task):
        basis = found.single() if isinstance(found, Dictionary) else found
        return measure_steered(subject, basis, [case.shown for case in on.cases], **options)
    dictionary = Dictionary.of(found) if isinstance(found, Basis) else found
    return evaluate_dictionary(subject, dictionary, on, **options)


def _explainer(explainer: str | Method, subject: Any, on: Any, **options: Any) -> Estimate:
    return evaluate_explainer(subject, explainer, on, **options)


def _words(descriptions: Descriptions, subject: Any, on: Any, **options: Any) -> Estimate:
    return evaluate_descriptions(subject, descriptions, on, **options)


def _list(found: Sequence[Description], subject: Any, on: Any, *, seed: int, progress: Any) -> dict[str, Estimate]:
    return summarise_scores(found, seed=seed)


_EVALUATORS: Mapping[type, Callable[..., Any]] = {
    Scores: _circuit,
    Dictionary: _dictionary,
    Basis: _dictionary,
    Method: _explainer,
    str: _explainer,
    Descriptions: _words,
    list: _list,
}
"""Noun → what evaluates it."""
