"""Verify: nodes of an explained answer replaced together, and as many others like them."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from patchclamp.atlas import pages
from patchclamp.atlas.lab.clamps import finite
from patchclamp.atlas.lab.control import measure_cells
from patchclamp.atlas.lab.run import Turn
from patchclamp.attribute import Attribution, attribute_nodes
from patchclamp.attribute.features import kind_of
from patchclamp.core.errors import PatchclampError
from patchclamp.core.graph import Graph
from patchclamp.core.metric import Metric
from patchclamp.core.stats import mean_interval, rank_of
from patchclamp.core.subject import Progress
from patchclamp.core.unit import UnitKey
from patchclamp.explain import Question, ask
from patchclamp.explain.receipts import matched_sets, sizes_of
from patchclamp.subjects.language import LanguageModel


def verify(
    model: LanguageModel,
    graph: Graph,
    nodes: Sequence[str],
    *,
    n_sets: int = 20,
    seed: int = 0,
    asked: tuple[Question, Metric] | None = None,
    turn: Turn = nullcontext,
    progress: Progress | None = None,
) -> pages.Verified:
    """Replace nodes of an explained answer together: predicted = Σ scores, measured = m(clean) − m(replaced).

    They are replaced by the graph's own reference. Random sets are those of `patchclamp explain`: units of the same
    sites and positions, from the same decile of ‖a − r‖.

    Args:
        model: the subject that the graph is of.
        graph: the explained answer.
        nodes: keys of some of its nodes; one named twice is replaced once.
        n_sets: random sets.
        seed: of their draw.
        asked: what ``question_of`` gives, where it was called before.
        turn: what a forward pass runs in.
        progress: called with sets done and in all.

    Raises:
        PatchclampError: a node that the graph has not or that is no unit, a reference that the graph does not hold, or
            a graph that does not say what was asked.

    Cost: two forward passes (three with a corrupted prompt), and 1 + ``n_sets`` rows of restarted ones.
    """
    chosen, predicted = _chosen(graph, nodes)
    question, metric = asked or question_of(model, graph)
    with turn():
        found = _sized(model, question, metric, chosen)
    sets, _ = matched_sets(sizes_of(found, chosen), n_sets, seed)
    cells = [found.reference.replace_all(group) for group in (chosen, *sets)]
    values = measure_cells(model, question.shown, metric, cells, turn=turn, progress=progress)
    together, randoms = float(found.baseline - values[0]), found.baseline - values[1:]
    different = list({frozenset(group): i for i, group in enumerate(sets)}.values())
    whole = randoms[np.isfinite(randoms)]
    interval = mean_interval(whole, seed=seed) if len(whole) else None
    p = 1.0 if np.isnan(together) else rank_of(together, np.nan_to_num(randoms[different], nan=np.inf))
    return pages.Verified(
        nodes=len(chosen), baseline=finite(found.baseline), predicted=finite(predicted), measured=finite(together),
        randoms=[finite(x) for x in randoms], size=min(map(len, sets)),
        mean=finite(whole.mean()) if len(whole) else None,
        low=finite(interval.low) if interval else None, high=finite(interval.high) if interval else None,
        different=len(different), p=p, reference=found.reference.kind, seed=seed,
    )  # fmt: skip


def _chosen(graph: Graph, nodes: Sequence[str]) -> tuple[list[UnitKey], float]:
    """Return the chosen nodes and the sum of their scores."""
    scores = {node.key: node.score for node in graph.nodes if node.kind not in ("input", "output", "error")}
    named = list(dict.fromkeys(nodes))
    strangers = [key for key in named if key not in scores]
    if strangers:
        raise PatchclampError(
            expected="units of this answer, with their places",
            got=repr(strangers[0][:120]),
            remedy="Choose among its units; /api/graphs/ID lists them.",
        )
    return [UnitKey.parse(key) for key in named], float(sum(scores[key] for key in named))


def question_of(model: LanguageModel, graph: Graph) -> tuple[Question, Metric]:
    """Return what was asked and its metric, from what a graph says of itself.

    Raises:
        PatchclampError: its reference is not at hand, or it does not say what was asked.
    """
    about: dict[str, Any] = dict(graph.about)
    reference = about.get("reference")
    if reference not in ("zero", "corrupted"):
        raise PatchclampError(
            expected="an answer explained against zero or a corrupted prompt",
            got=f"one against {reference!r:.40}",
            remedy="Means need the survey that they came from: `patchclamp explain … --reference SURVEY` measures them."
            if reference == "mean"
            else "Explain it again with this version: `patchclamp explain … --atlas ATLAS`.",
        )
    words = {name: about.get(name) or None for name in ("prompt", "target", "contrast", "corrupt")}
    try:
        told: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in graph.metric.items()
        }
        metric = Metric(**told)
    except TypeError as problem:
        raise PatchclampError(
            expected="a graph that says its metric", got=str(problem)[:120], remedy="Explain the answer again."
        ) from problem
    if not all(isinstance(word, str | None) for word in words.values()) or not words["prompt"]:
        raise PatchclampError(
            expected="a graph that says its prompt", got=repr(words)[:120], remedy="Explain the answer again."
        )
    if words["target"] is None:
        question = ask(model, words["prompt"], metric=metric, corrupt=words["corrupt"])
    else:
        question = ask(model, words["prompt"], words["target"], contrast=words["contrast"], corrupt=words["corrupt"])
    return question, metric


def _sized(model: LanguageModel, question: Question, metric: Metric, chosen: Sequence[UnitKey]) -> Attribution:
    """Return what every unit of the chosen nodes' sites does, and its reference; no scores are computed."""
    kinds = ((kind_of(node.basis), node.site) for node in chosen)
    levels = list(dict.fromkeys(site if kind == "neuron" else kind for kind, site in kinds))
    found = attribute_nodes(
        model, question.shown, metric, corrupted=question.corrupted, method="activation", levels=levels
    )
    for node in chosen:
        found.index(node)  # raises where the model has no such node
    return found
