"""Find a circuit: score every part of a network over pairs, and measure the first ones together beside random sets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from patchclamp.attribute.engine import count_edges, score_edges
from patchclamp.attribute.nodes import level_sites
from patchclamp.attribute.pairs import SITES, Cost, attribute_pairs, cost_of, default_method
from patchclamp.attribute.rules import find_rule
from patchclamp.core.arguments import Natural, checked
from patchclamp.core.circuit import Level, draw_graph, is_measured
from patchclamp.core.disk import refuse_unwritable
from patchclamp.core.errors import PatchclampError
from patchclamp.core.graph import Graph
from patchclamp.core.method import Method
from patchclamp.core.method_index import find_default, list_names
from patchclamp.core.scores import Scores
from patchclamp.core.stats import Interval, spearman
from patchclamp.core.subject import Keep, Progress, keep_nothing, refuse_no_subject
from patchclamp.core.task import Task
from patchclamp.recipes.ablation_cost import count_edge_bytes, count_edge_rows, count_unit_bytes, count_unit_rows
from patchclamp.recipes.circuit_folder import (
    check_folder,
    clear,
    found_before,
    keep_circuit,
    plan_of,
    searching,
)
from patchclamp.recipes.group_ablation import GroupAblation, ablate_group, count_matched, count_same_size
from patchclamp.subjects.cases import ReadTask
from patchclamp.subjects.protocols import Reads
from patchclamp.subjects.relevance_rules import check_rules
from patchclamp.subjects.residual_edges import edge_map

TOP = 10
"""Parts that are measured together by default, at most."""
LEAST_SETS, N_SETS, MOST_SETS, MOST_STEPS = 20, 99, 10_000, 1000
NEAR = 0.01
"""Scores below one hundredth of the largest count as near zero."""
IN_GRAPH = 1000
"""Parts that a graph takes, at most."""


@checked
def find_circuit(
    subject: Any,
    task: Task | ReadTask,
    *,
    level: Level = "node",
    method: str | Method | None = None,
    rules: Sequence[str] | None = None,
    steps: int = 10,
    direction: Literal["noise", "denoise"] = "noise",
    by_position: bool = False,
    batch_size: int = 16,
    top: int | None = None,
    n_controls: int = N_SETS,
    seed: Natural = 0,
    out: str | Path | None = None,
    resume: bool = False,
    page: Callable[[Scores], str | None] | None = None,
    state: Callable[[Cost], None] | None = None,
    note: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> Scores:
    r"""Find which parts of a network carry its answers over pairs, and measure the first of them together.

    The score of a part is the mean over pairs of m(x) − m(x with the part as in x′), measured or predicted. Then the
    parts of highest score are replaced together, by themselves, and beside random sets of parts like them.

    Args:
        subject: a network; of features, one to which their bases were added.
        task: pairs, each case with a counterpart; or what ``subject.read(task)`` gave.
        level: what the parts are.
        method: how they are scored, by name or as a Method; by default ``activation_patching`` of up to 2,000 parts,
            ``relp`` where ``rules`` are given, else the default of the level.
        rules: relevance rules in place of the method's own.
        steps: points of a path of gradients.
        direction: ``noise``: values of the counterpart into the clean run; ``denoise``: the reverse.
        by_position: score every position by itself; pairs of one length only.
        batch_size: pairs in one pass.
        top: parts that are measured together; by default ten, or so many fewer that random sets can have as many.
        n_controls: random sets, at least 20.
        seed: of the random sets and intervals, and of a method's draws.
        out: a new or empty folder to keep the circuit in; with one, an interrupted search can be resumed.
        resume: go on with an interrupted search in ``out``.
        page: makes what people look at, kept in the folder; None where that failed.
        state: called with what scoring takes, before it begins.
        note: called with a sentence where fewer parts are measured than ``top``.
        progress: called with what is done and what there is in all, of the scoring and then of the random sets.

    Returns:
        Scores: a score for every part, of every pair too where there is room; ``provenance.extra["receipt"]`` is what
        the first parts did together, beside random sets.

    Raises:
        PatchclampError: a method of another level, options that do not go together, a folder that holds something, or
            pairs that the subject cannot be scored on.

    Source: 2211.00593, 2304.14997 and 2403.00745 for the scores of nodes and edges; each method's card names its own.
    Departs from them in the receipt: random sets are matched to the parts by site and size.

    Cost: see ``attribute_pairs`` and ``attribute_edges``; then 4 + ``n_controls`` + ``top`` forward passes of a pair.

    Example:
        >>> from patchclamp.loaders import load
        >>> task = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
        >>> found = find_circuit(load("organism:cat"), task, level="neuron", top=1)
        >>> str(found.top(1)[0]), found.provenance.extra["receipt"]["verdict"]
        ('cat/blocks.0.mlp.act/neurons/7', 'weak')
    """
    check_search(
        level,
        method,
        rules=rules,
        steps=steps,
        by_position=by_position,
        batch_size=batch_size,
        top=top,
        n_controls=n_controls,
    )
    refuse_no_subject(subject, Reads, "in which circuits can be found")
    if out is not None:
        check_folder(out, resume=resume)
        refuse_unwritable(out)
    cases = task if isinstance(task, ReadTask) else subject.read(task)
    how: dict[str, Any] = {
        "method": _method(subject, cases, level, method, rules, by_position=by_position),
        "rules": rules,
        "steps": steps,
        "direction": direction,
        "by_position": by_position,
        "batch_size": batch_size,
        "seed": seed,
    }
    name, _ = find_rule(how["method"], rules=rules, steps=steps)
    plan = plan_of(
        subject,
        cases,
        {
            **how,
            "method": name,
            "rules": None if rules is None else list(rules),
            "level": level,
            "top": top,
            "controls": n_controls,
        },
    )

    def search(keep: Keep) -> Scores:
        score = _score_edges if level == "edge" else _score_units
        found = score(subject, cases, level, how, state, progress, keep)
        return _with_receipt(subject, found, cases, top, n_controls, seed, note, progress)

    if out is None:
        return with_extra(search(keep_nothing), plan=plan)
    place = Path(out)
    circuit = found_before(place, plan)
    if circuit is None:
        with searching(place, plan, resume=resume) as kept:
            # Threads may be those of the run that was interrupted.
            circuit = with_extra(search(kept.once), plan={**plan, "plan": kept.manifest["plan"]})
        keep_circuit(place, circuit, None if page is None else page(circuit))
    clear(place)
    return circuit


def check_search(
    level: str,
    method: str | Method | None,
    *,
    rules: Sequence[str] | None = None,
    steps: int = 10,
    by_position: bool = False,
    batch_size: int = 16,
    top: int | None = None,
    n_controls: int = N_SETS,
) -> None:
    """Refuse what does not go together in a search; it needs no model.

    Args:
        level: of the parts.
        method: that is named.
        rules: relevance rules.
        steps: points of a path.
        by_position: whether positions are kept apart.
        batch_size: pairs in one pass.
        top: parts that are measured together.
        n_controls: random sets.

    Raises:
        PatchclampError: a method of another level, or options that it does not take.

    Example:
        >>> check_search("node", "relp")
        >>> check_search("edge", "direct_logit")
        Traceback (most recent call last):
        patchclamp.core.errors.PatchclampError: ...
    """
    name = method.name if isinstance(method, Method) else method
    if name is None and rules is not None:
        name = find_default("circuit", "attribute", key="rules")
    fitting = list_names("attribute", "edge" if level == "edge" else "unit", option="direction")
    if name is not None and not isinstance(method, Method) and name not in fitting:
        raise PatchclampError(
            expected=f"a method for {level}s: {', '.join(fitting)}",
            got=name,
            remedy="Choose one of these, or another level.",
        )
    with_rules = list_names("attribute", option="rules")
    wrong = [
        (rules is not None and name not in with_rules, f"rules with {name}", f"They are of {with_rules[0]}."),
        (by_position and level == "edge", "edges by position", "Edges are of all positions."),
        (top is not None and top < 1, f"top {top}", "Measure at least 1 part."),
        (n_controls > MOST_SETS, f"{n_controls} random sets", f"Take at most {MOST_SETS:,}."),
        (n_controls < LEAST_SETS, f"{n_controls} random sets", f"Take at least {LEAST_SETS}."),
        (steps > MOST_STEPS, f"{steps} steps", f"Take at most {MOST_STEPS:,}."),
        (steps < 1, f"{steps} steps", "Take at least 1."),
        (batch_size < 1, f"a batch of {batch_size}", "Take at least 1."),
    ]
    for is_wrong, got, remedy in wrong:
        if is_wrong:
            raise PatchclampError(expected="options that go together", got=got, remedy=remedy)
    check_rules(() if rules is None else tuple(rules))


def receipt_rows(model: Any, cases: ReadTask, level: str, top: int | None, n_controls: int) -> int:
    """Return how many rows of forward passes the receipt takes at most; there may be fewer parts or random sets.

    Args:
        model: the subject.
        cases: pairs.
        level: what the parts are.
        top: parts that are measured together.
        n_controls: random sets.

    Returns:
        int: rows; a set of edges runs blocks in pieces and counts where these pass an MLP.

    Example:
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> pair = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
        >>> receipt_rows(cat, cat.read(pair), "node", None, 99)
        115
    """
    n_sets = 1 + (top or TOP) + n_controls
    return count_edge_rows(model, cases, n_sets) if level == "edge" else count_unit_rows(len(cases), n_sets)


def search_cost(model: Any, cases: ReadTask, level: Level) -> Cost:
    """Count what scoring the parts of a level takes, by the method that the level has; nothing is run.

    Args:
        model: the subject.
        cases: pairs.
        level: what the parts are.

    Returns:
        Cost: rows of forward and backward passes, and bytes besides the model's.

    Raises:
        PatchclampError: a level that the subject has not.

    Source: ours.

    Cost: none; sites are counted.

    Example:
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> pair = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
        >>> search_cost(cat, cat.read(pair), "neuron").parts
        40
    """
    method = _method(model, cases, level, None, None, by_position=False)
    if level == "edge":
        return _edge_cost(model, cases, method, None, 10)
    return _unit_cost(model, cases, level=level, method=method)


def _method(
    model: Any,
    cases: ReadTask,
    level: str,
    method: str | Method | None,
    rules: Sequence[str] | None,
    *,
    by_position: bool,
) -> str | Method:
    """Return how parts are scored: the method that is named, else as their number allows."""
    if method is not None:
        return method
    if level == "edge":
        return default_method("edge", len(edge_map(model)), rules=rules)
    how: dict[str, Any] = {"level": level, "rules": rules, "by_position": by_position}
    return cost_of(model, cases, **how).method


def _score_units(
    model: Any,
    cases: ReadTask,
    level: Level,
    how: Mapping[str, Any],
    state: Callable[[Cost], None] | None,
    progress: Progress | None,
    keep: Keep,
) -> Scores:
    options: dict[str, Any] = {"level": level, **how}
    direction, seed = options.pop("direction"), options.pop("seed")
    if state is not None:
        state(_unit_cost(model, cases, **options))
    return attribute_pairs(model, cases, direction=direction, seed=seed, progress=progress, keep=keep, **options)


def _score_edges(
    model: Any,
    cases: ReadTask,
    _level: Level,
    how: Mapping[str, Any],
    state: Callable[[Cost], None] | None,
    progress: Progress | None,
    keep: Keep,
) -> Scores:
    chosen = {name: how[name] for name in ("method", "rules", "steps")}
    if state is not None:
        state(_edge_cost(model, cases, **chosen))
    return score_edges(model, cases, direction=how["direction"], progress=progress, keep=keep, **chosen)


def _unit_cost(model: Any, cases: ReadTask, **options: Any) -> Cost:
    """Count what scoring units takes, and hold what their scores or their receipt does, whichever is more."""
    cost = cost_of(model, cases, **options)
    measured = count_unit_bytes(model, cases, list(level_sites(model, SITES[options["level"]])))
    return replace(cost, bytes=max(cost.bytes, measured))


def _edge_cost(model: Any, cases: ReadTask, method: str | Method, rules: Sequence[str] | None, steps: int) -> Cost:
    """Count what scoring all edges takes, and hold what their scores or their receipt does, whichever is more."""
    cost = count_edges(model, cases, method=method, rules=rules, steps=steps)
    return replace(cost, bytes=max(cost.bytes, count_edge_bytes(model, cases, 1 + TOP + N_SETS)))


def _with_receipt(
    model: Any,
    found: Scores,
    cases: ReadTask,
    top: int | None,
    n_controls: int,
    seed: int,
    note: Callable[[str], None] | None,
    progress: Progress | None,
) -> Scores:
    """Return a circuit with what its first parts did together."""
    places, n_sets, why = choose_measured(found, top, n_controls)
    if why and note is not None:
        note(why)
    receipt = ablate_group(model, found, cases, places, n_sets=n_sets, seed=seed, progress=progress)
    found = replace(found, provenance=replace(found.provenance, seed=seed))
    return with_extra(found, receipt=receipt_data(found, receipt))


def with_extra(found: Scores, **extra: Any) -> Scores:
    """Return a circuit that says more of what it was found with."""
    made = found.provenance
    return replace(found, provenance=replace(made, extra={**made.extra, **extra}))


def choose_measured(found: Scores, top: int | None, n_controls: int) -> tuple[list[int], int, str]:
    """Choose the parts that are measured together, and how many random sets stand beside them.

    The highest scores come first, those near zero left out. Where no number is given these are ten at most, and so many
    that there are random sets of as many parts. Fewer than ``top`` are chosen where otherwise no other part of any of
    their kinds would be left to draw.

    Args:
        found: scores of all parts.
        top: how many, where that was said.
        n_controls: random sets.

    Returns:
        places of the parts, how many random sets can be drawn, and why there are fewer parts, if there are.

    Example:
        >>> from patchclamp.core.keys import Block, UnitIndex
        >>> scores = Scores(UnitIndex([Block("blocks.0.mlp.act", "neurons", 8)]), np.arange(8.0))
        >>> choose_measured(scores, 2, 5)[0]
        [7, 6]
    """
    places = _highest(found, top or TOP)
    if top is None and (n := count_same_size(found.parts, places, n_controls)):
        why = ""
        if n < len(places):
            why = (
                f"{n} part{'s are' if n > 1 else ' is'} measured together, not {len(places)}: with more there would "
                f"not be {n_controls} random sets of as many parts, or fewer still; top takes another number"
            )
        return places[:n], n_controls, why
    n = count_matched(found.parts, places)
    if n == 0:
        return places, 0, "the first part is all there is of its kind: no random sets are drawn"
    why = ""
    if n < len(places):
        why = (
            f"top {top or TOP} leaves no other part of these kinds among {len(found):,} to draw random sets from; {n} "
            "measured"
        )
    return places[:n], n_controls, why


def _highest(found: Scores, most: int) -> list[int]:
    """Return the parts of highest score, those near zero and the embedding left out.

    To replace the embedding is to show the corrupted prompt: it takes all of m(x) − m(x′) in every model.
    """
    order = [int(i) for i in found.order() if found.of_edges or not str(found.parts[i]).startswith("embed/")]
    least = NEAR * float(np.abs(found.values).max())
    return [i for i in order if found.values[i] > least][:most] or order[:1]


def receipt_data(found: Scores, together: GroupAblation) -> dict[str, Any]:
    """Return what parts of a circuit did together as JSON-ready data.

    Args:
        found: the circuit.
        together: what ``ablate_group`` measured of it.
    """
    predicted = found.values[list(together.places)]
    own = None if is_measured(found) else agreement(predicted, np.array(together.alone))
    r, controls = together.receipt, together.receipt.controls
    return {
        "verdict": r.verdict,
        "reasons": list(r.reasons),
        "sentence": r.sentence,
        "quantity": together.quantity,
        "agreement": own,
        "random_predicted": _number(together.random_predicted),
        "parts": list(r.keys),
        "alone": list(together.alone),
        "predicted": r.predicted,
        "measured": together.measured,
        "measured_share": _number(together.share(together.measured)),
        "interval": _ends(r.measured.interval),
        "randoms": list(controls.measured),
        "random_mean": _number(controls.mean),
        "random_share": _number(together.share(controls.mean)) if np.isfinite(controls.mean) else None,
        "random_interval": _ends(controls.interval),
        "rule": controls.rule,
        "step": controls.step,
        "outside": controls.outside,
        "idle": controls.idle,
        "size": controls.size,
        "distinct": controls.n_different,
        "asked": controls.asked,
        "p": _number(r.p),
        "seed": controls.seed,
        "rivals": dict(r.rivals),
    }


def agreement(predicted: np.ndarray, measured: np.ndarray) -> dict[str, float | None]:
    """Return how predicted effects of single parts agree with measured ones; None where there are too few to say.

    Returns:
        ``spearman`` of both, and ``ratio``, the median over parts of measured effect divided by predicted effect.
    """
    order = spearman(predicted, measured) if len(predicted) > 2 else float("nan")
    return {"spearman": _number(order), "ratio": _number(float(np.median(measured / predicted)))}


def graph_with_receipt(circuit: Scores, *, tokens: Sequence[str] = ()) -> Graph:
    """Return a circuit as a graph with what was measured of its first parts, as an atlas keeps it.

    Args:
        circuit: what ``find_circuit`` gave.
        tokens: of the first case's prompt, where parts have positions.
    """
    receipt = circuit.provenance.extra["receipt"]
    low, high = receipt["random_interval"]
    figures = {
        "predicted": receipt["predicted"],
        "measured": receipt["measured"],
        "control_mean": receipt["random_mean"],
        "control_low": low,
        "control_high": high,
        "p": receipt["p"],
    }
    measures = {name: value for name, value in figures.items() if value is not None}
    graph = draw_graph(circuit, IN_GRAPH, tokens=tokens, measures=measures)
    slug = circuit.provenance.subject
    alone = {f"{slug}/{name}": value for name, value in zip(receipt["parts"], receipt["alone"], strict=True)}
    nodes = tuple(
        replace(node, measures={"measured": alone[node.key]}) if node.key in alone else node for node in graph.nodes
    )
    return replace(graph, nodes=nodes)


def _ends(interval: Interval | None) -> list[float | None]:
    """Return both ends of an interval; None where one pair gives none."""
    return [None, None] if interval is None else [_number(end) for end in (interval.low, interval.high)]


def _number(x: float) -> float | None:
    return x if np.isfinite(x) else None
