"""Nodes of an explained answer, or of a circuit, replaced together, and as many others like them."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np

from patchclamp.ablate import Cases, Turn, UnitSets, measure_sets
from patchclamp.atlas.lab import messages
from patchclamp.atlas.lab.random_controls import rows_of_turn
from patchclamp.atlas.read.graph_pruning import ENDS
from patchclamp.atlas.read.responses import EstimateView
from patchclamp.attribute import attribute_nodes
from patchclamp.attribute.features import kind_of
from patchclamp.attribute.gradients import make_baseline
from patchclamp.attribute.nodes import unit_strata
from patchclamp.core.controls import draw_controls
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate, finite
from patchclamp.core.graph import Graph
from patchclamp.core.keys import UnitList
from patchclamp.core.metric import Metric
from patchclamp.core.receipt import LARGEST_ACTIVATIONS, REPLACED, RULE, Receipt, describe_effect, name_units
from patchclamp.core.scores import Scores
from patchclamp.core.stats import rank_of
from patchclamp.core.subject import Progress
from patchclamp.core.task import Task
from patchclamp.core.unit import UnitKey
from patchclamp.recipes.group_ablation import ablate_group, count_matched
from patchclamp.recipes.receipts import loudest_others
from patchclamp.subjects.bases import count_units
from patchclamp.subjects.cases import ReadCase, ReadTask
from patchclamp.subjects.language import LanguageModel

BLOCK = re.compile(r"^blocks\.\d+\.")


def verify(
    model: LanguageModel,
    graph: Graph,
    nodes: Sequence[str],
    *,
    n_sets: int = 99,
    seed: int = 0,
    asked: ReadCase | ReadTask | None = None,
    turn: Turn = nullcontext,
    progress: Progress | None = None,
) -> messages.Verified:
    """Replace nodes of an explained answer together: predicted = Σ scores, measured = m(clean) − m(replaced).

    They are replaced by the graph's own baseline. Random sets are those of `patchclamp explain`: see
    ``draw_controls``. Of a circuit that was found over pairs every figure is a mean
    over them, a node without a position is replaced at all positions, and random sets have as many units of each kind.

    Args:
        model: the subject that the graph is of.
        graph: the explained answer.
        nodes: keys of some of its nodes; one named twice is replaced once.
        n_sets: random sets, at most: no two are the same, and small sites have few.
        seed: of their draw.
        asked: what ``case_of`` or ``cases_of`` gives, where it was called before.
        turn: what a forward pass runs in.
        progress: called with sets done and in all.

    Returns:
        messages.Verified: predicted and measured effect, the random sets and the verdict.

    Raises:
        PatchclampError: a node that the graph has not or that is no unit, a baseline that the graph does not hold, or
            a graph that does not say what was asked.

    Source: ours: the receipt of ``explain``, for any nodes.

    Cost: two forward passes (four with a corrupted prompt), and 1 + ``n_sets`` rows of restarted ones.
    """
    chosen, predicted = _choose_nodes(graph, nodes)
    if isinstance(asked, ReadTask) or (asked is None and over_pairs(graph)):
        cases = asked or cases_of(model, graph)
        return _verify_over_pairs(model, graph, chosen, cases, n_sets=n_sets, seed=seed, turn=turn, progress=progress)
    case = asked or case_of(model, graph)
    with turn():
        activations = _activations_of(model, case, chosen)
        sites = [block.site for block in activations.units.blocks]
        baseline = make_baseline(model, sites, corrupted=case.counterpart)
    own = [activations.units.place(node) for node in chosen]
    controls = draw_controls(unit_strata(activations), own, n_sets, seed=seed)
    rival = [activations.units.place(node) for node in loudest_others(activations, chosen)]
    groups = (own, *controls.sets, *([rival] if rival else []))
    sets = UnitSets(activations.units, [np.array(places, dtype=np.int64) for places in groups])
    [values] = measure_sets(
        model,
        Cases.of([case.clean], case.metric),
        sets,
        baseline,
        batch_size=rows_of_turn(case.clean),
        turn=turn,
        progress=progress,
    )
    effects = activations.metric_clean - values
    together, randoms = float(effects[0]), effects[1 : 1 + len(controls.sets)]
    controls = controls.measure(randoms)
    receipt = Receipt(
        "these nodes carry m",
        tuple(map(str, chosen)),
        predicted,
        Estimate(together, None, 1, "m"),
        controls,
        {LARGEST_ACTIVATIONS: float(effects[-1])} if rival else {},
        describe_effect(
            f"with {name_units(len(chosen))} {REPLACED[baseline.kind]}",
            case.quantity,
            activations.metric_clean,
            together,
            case.metric.unit,
        ),
    )
    p = 1.0 if np.isnan(together) else rank_of(together, np.nan_to_num(randoms, nan=np.inf))
    p = p if controls.size == len(chosen) else math.nan  # fewer units do less by their number alone
    return messages.Verified(
        nodes=len(chosen),
        metric_clean=finite(activations.metric_clean),
        predicted=finite(predicted) if len(chosen) == 1 else None,
        measured=finite(together),
        randoms=[finite(x) for x in randoms],
        size=controls.size,
        mean=EstimateView.of(controls.estimate("m")),
        different=controls.n_different,
        p=finite(p),
        baseline=baseline.kind,
        seed=seed,
        grade=receipt.verdict,
        sentence=receipt.sentence,
        rule=RULE,
    )


def _choose_nodes(graph: Graph, nodes: Sequence[str]) -> tuple[list[UnitKey], float]:
    """Return the chosen nodes and the sum of their scores."""
    scores = {node.key: node.score for node in graph.nodes if node.kind not in ENDS}
    named = list(dict.fromkeys(nodes))
    strangers = [key for key in named if key not in scores]
    if strangers:
        raise PatchclampError(
            expected="units of this answer, with their places",
            got=repr(strangers[0][:120]),
            remedy="Choose among its units; /api/graphs/ID lists them.",
        )
    return [UnitKey.parse(key) for key in named], float(sum(scores[key] for key in named))


def case_of(model: LanguageModel, graph: Graph, shown: Mapping[str, Any] | None = None) -> ReadCase:
    """Return what was asked as the model reads it, from what a graph says of itself.

    Args:
        model: the subject.
        graph: the answer.
        shown: what its prompts stand for where they are no texts, by name.

    Returns:
        ReadCase: the prompt, its counterpart and m.

    Raises:
        PatchclampError: its baseline is not at hand, or it does not say what was asked.
    """
    about: dict[str, Any] = dict(graph.about)
    baseline = about.get("baseline")
    if baseline not in ("zero", "corrupted"):
        raise PatchclampError(
            expected="an answer explained against zero or a corrupted prompt",
            got=f"one against {baseline!r:.40}",
            remedy="Means need the survey that they came from: `patchclamp explain … --baseline SURVEY` measures them."
            if baseline == "mean"
            else "Explain it again with this version: `patchclamp explain … --atlas ATLAS`.",
        )
    words = {name: about.get(name) or None for name in ("prompt", "target", "contrast", "corrupt")}
    try:
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in graph.metric.items()
        }
        metric = Metric(**fields)
    except (TypeError, PatchclampError) as problem:
        got = problem.got if isinstance(problem, PatchclampError) else str(problem)
        raise PatchclampError(
            expected="a graph that says its metric", got=got[:120], remedy="Explain the answer again."
        ) from problem
    if not all(isinstance(word, str | None) for word in words.values()) or not words["prompt"]:
        raise PatchclampError(
            expected="a graph that says its prompt", got=repr(words)[:120], remedy="Explain the answer again."
        )
    prompt, other = ((shown or {}).get(str(words[name]), words[name]) for name in ("prompt", "corrupt"))
    if words["target"] is None:
        return model.read_case(prompt, (), metric=metric, counterpart=other)
    contrasts = () if words["contrast"] is None else (words["contrast"],)
    case = model.read_case(prompt, (words["target"],), contrasts, counterpart=other)
    return replace(case, metric=metric)


def over_pairs(graph: Graph) -> bool:
    """Say whether a graph is a circuit that was found over pairs of prompts."""
    return bool(graph.about.get("task"))


def cases_of(model: LanguageModel, graph: Graph) -> ReadTask:
    """Return the cases that a circuit's graph holds, as the model reads them.

    Raises:
        PatchclampError: they are no cases.
    """
    try:
        task = Task.from_json(graph.about["task"])
    except (KeyError, TypeError, AttributeError, PatchclampError) as problem:
        raise PatchclampError(
            expected="a circuit that holds its cases", got=str(problem)[:120], remedy="Find the circuit again."
        ) from problem
    return model.read(task, least=0.0)


def _verify_over_pairs(
    model: LanguageModel,
    graph: Graph,
    chosen: Sequence[UnitKey],
    cases: ReadTask,
    *,
    n_sets: int,
    seed: int,
    turn: Turn,
    progress: Progress | None,
) -> messages.Verified:
    """Replace nodes over pairs, and random sets of all units of their kinds, at the same positions."""
    scores = {_local(UnitKey.parse(node.key)): node.score for node in graph.nodes if node.kind not in ENDS}
    own = [_local(node) for node in chosen]
    parts = list(dict.fromkeys([*own, *comparable_units(model, chosen)]))
    circuit = Scores(UnitList(parts), np.array([scores.get(part, 0.0) for part in parts]))
    # Nothing is like the embedding: it is replaced, with no random sets beside it.
    drawn = n_sets if count_matched(parts, range(len(own))) else 0
    ablated = ablate_group(
        model, circuit, cases, range(len(own)), n_sets=drawn, seed=seed, alone=False, turn=turn, progress=progress
    )
    receipt, controls = ablated.receipt, ablated.receipt.controls
    return messages.Verified(
        nodes=len(own),
        metric_clean=finite(ablated.clean),
        predicted=finite(receipt.predicted) if len(own) == 1 else None,
        measured=finite(ablated.measured),
        randoms=[finite(x) for x in controls.measured],
        size=controls.size,
        mean=EstimateView.of(controls.estimate("m")),
        different=controls.n_different,
        p=finite(receipt.p),
        baseline="corrupted",
        seed=seed,
        grade=receipt.verdict,
        sentence=receipt.sentence,
        rule=RULE,
    )


def _local(key: UnitKey) -> str:
    """Return a key without its subject."""
    return str(replace(key, subject=None))


def comparable_units(model: LanguageModel, chosen: Sequence[UnitKey]) -> Iterator[str]:
    """Yield the units that sets are drawn from: heads of every block, what every MLP writes, neurons of every MLP."""
    for basis, kind, position in dict.fromkeys((n.basis, model.site(n.site).kind, n.position) for n in chosen):
        whole = model.of_level("node") if basis == "whole" else {}
        for site in model.sites():
            there = f"{site.path}/{basis}" in model.bases or basis in model.bases
            if there and (whole.get(site.path) == basis if whole else site.kind == kind):
                for unit in range(count_units(model.basis_at(site.path, basis), site)):
                    yield str(UnitKey(site.path, unit, basis, None, position))


def _activations_of(model: LanguageModel, case: ReadCase, chosen: Sequence[UnitKey]) -> Scores:
    """Return what every unit of the chosen nodes' kinds does, and its baseline; no scores are computed."""
    kinds = ((kind_of(node.basis), node.site) for node in chosen)
    levels = list(dict.fromkeys(BLOCK.sub("blocks.*.", site) if kind == "neuron" else kind for kind, site in kinds))
    attributed = attribute_nodes(
        model, case.clean, case.metric, corrupted=case.counterpart, method="activation", levels=levels
    )
    for node in chosen:
        attributed.units.place(node)  # raises where the model has no such node
    return attributed
