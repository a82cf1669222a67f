"""How well each method's predictions hold in trained networks, where the circuit is not known."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from patchclamp.ablate import Cases, UnitSets, measure_sets
from patchclamp.attribute import attribute_nodes
from patchclamp.attribute.gradients import make_baseline
from patchclamp.attribute.nodes import unit_strata
from patchclamp.core.arguments import checked
from patchclamp.core.checks import at_least
from patchclamp.core.controls import draw_controls
from patchclamp.core.errors import PatchclampError
from patchclamp.core.scores import Scores
from patchclamp.core.stats import Interval, mean_interval, spearman
from patchclamp.core.subject import Progress
from patchclamp.core.unit import UnitKey
from patchclamp.organisms import language
from patchclamp.recipes.receipts import normalise
from patchclamp.subjects.cases import ReadCase
from patchclamp.subjects.language import LanguageModel

MAIN_TASKS = ("ioi", "agreement", "pronouns", "days", "months", "facts", "two_hop")
COMPARED: Mapping[str, Mapping[str, Any]] = {
    "relp": {"method": "relp"},
    "relp, ln alone": {"method": "relp", "rules": ("ln",)},
    "relp, identity alone": {"method": "relp", "rules": ("identity",)},
    "relp, half alone": {"method": "relp", "rules": ("half",)},
    "attribution_patching": {"method": "attribution_patching"},
    "integrated_gradients": {"method": "integrated_gradients"},
}
RANDOM = "random"
PAIRS, TOP, SETS, CHECKED, STRONGEST = 64, 20, 20, 64, 6


@checked
@dataclass(frozen=True)
class Agreement:
    """How one method's predictions held on the pairs of one task.

    Args:
        organism: its name.
        task: what was asked.
        method: see ``COMPARED``; ``random`` scores nodes at random.
        pairs: how many pairs; those whose m hardly differs between the two prompts are left out.
        spearman: mean over pairs of ρ between predicted and measured effects of single nodes.
        spearman_interval: 95 %, by bootstrap over pairs.
        receipt: mean share of m(clean) − m(corrupted) that replacing the top nodes together takes away.
        receipt_interval: likewise.
        control: mean share that a matched random set takes away.
        control_interval: likewise.
        ahead: share of pairs in which the top nodes took away more than every random set.
        seconds: to compute the scores, all pairs together.
    """

    organism: str
    task: str
    method: str
    pairs: int
    spearman: float
    spearman_interval: Interval
    receipt: float
    receipt_interval: Interval
    control: float
    control_interval: Interval
    ahead: float
    seconds: float


@checked
def calibrate_tasks(
    names: Sequence[str] | None = None,
    *,
    tasks: Sequence[str] = MAIN_TASKS,
    pairs: int = PAIRS,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Agreement]:
    """Hold every method's predictions against measured replacements, on pairs of every task.

    On each pair every node (neuron or head at a position) is scored with the corrupted prompt as baseline. Then the
    same single nodes are replaced for all methods alike, each method's six strongest and others drawn at random, 64 in
    all; and each method's twenty highest together, beside twenty random sets of the same sites and positions and of
    like size.

    Args:
        names: language organisms (default: all).
        tasks: some of the microworld's.
        pairs: held-out pairs per task.
        seed: of the pairs and of every draw.
        progress: called with pairs done and pairs in all.

    Returns:
        list[Agreement]: per organism and task the methods in order, then ``random``.

    Raises:
        PatchclampError: no such organism or task, or less than one pair.

    Cost: about a second per pair.

    Example:
        >>> rows = calibrate_tasks(["language-gpt2"], tasks=["agreement"], pairs=2)
        >>> [row.method for row in rows][-2:]
        ['integrated_gradients', 'random']
    """
    chosen = list(dict.fromkeys(names)) if names is not None else list(language.names())
    for name in chosen:
        language.folder(name)
    check_tasks(tasks, pairs)
    results: list[Agreement] = []
    done, total = 0, len(chosen) * len(tasks) * pairs
    for name in chosen:
        model = language.build(name)
        for task in tasks:
            trials: list[dict[str, _PairAgreement] | None] = []
            for item in language.tasks(task, pairs, seed=seed, name=name):
                trials.append(_trial(model, item, seed + len(trials)))
                done += 1
                if progress is not None:
                    progress(done, total)
            results += _summarise(name, task, [trial for trial in trials if trial is not None], seed)
    return results


def check_tasks(tasks: Sequence[str], pairs: int) -> None:
    """Refuse tasks that no language organism has, or no pairs.

    Raises:
        PatchclampError: with the tasks.
    """
    unknown = [task for task in tasks if task not in language.TASKS]
    if unknown or not tasks:
        raise PatchclampError(
            expected=f"tasks among {', '.join(language.TASKS)}",
            got=", ".join(unknown) or "none",
            remedy="Choose some of these.",
        )
    at_least("the number of pairs per task", pairs, 1, remedy=f"The default is {PAIRS}.")


@dataclass(frozen=True)
class _PairAgreement:
    """What one pair says of one method."""

    spearman: float
    receipt: float
    controls: Float[np.ndarray, " set"]
    seconds: float


def _trial(model: LanguageModel, item: Any, seed: int) -> dict[str, _PairAgreement] | None:
    """Score one pair by every method and measure what they say; None where the two prompts hardly differ in m."""
    case = model.read_case(item.clean, (item.answer,), (item.wrong,), counterpart=item.corrupted)
    metric_baseline = float(model.measure([case.counterpart], case.metric)[0])
    scored: dict[str, Scores] = {}
    seconds: dict[str, float] = {}
    for name, options in COMPARED.items():
        began = time.perf_counter()
        scored[name] = attribute_nodes(model, case.clean, case.metric, corrupted=case.counterpart, **options)
        seconds[name] = time.perf_counter() - began
    some = next(iter(scored.values()))
    if normalise(0.0, some.metric_clean, metric_baseline) is None:
        return None
    draw = np.random.default_rng(seed)
    orders = {name: one_scores.order() for name, one_scores in scored.items()}
    scores = {name: one_scores.values for name, one_scores in scored.items()}
    scores[RANDOM] = draw.permutation(len(some)).astype(float)
    orders[RANDOM] = np.argsort(-scores[RANDOM])
    seconds[RANDOM] = 0.0
    singles = _singles({name: scores[name] for name in scored}, draw)
    groups = [[some.units.unit(int(i))] for i in singles]
    strata, starts = unit_strata(some), []
    for order in orders.values():
        starts.append(len(groups))
        top = [some.units.unit(int(i)) for i in order[:TOP]]
        controls = draw_controls(strata, order[:TOP].tolist(), SETS, seed=seed)
        groups += [top, *([some.units.unit(i) for i in one] for one in controls.sets)]
    effects = some.metric_clean - _measure_effects(model, case, some, groups)
    alone, *together = np.split(effects, starts)
    scale = some.metric_clean - metric_baseline
    return {
        name: _PairAgreement(
            spearman(scores[name][singles], alone), float(row[0]) / scale, row[1:] / scale, seconds[name]
        )
        for name, row in zip(orders, together, strict=True)
    }


def _singles(scores: Mapping[str, np.ndarray], draw: np.random.Generator) -> np.ndarray:
    """Choose the nodes that are replaced alone: the strongest of each method, and others at random."""
    strong = {int(i) for flat in scores.values() for i in np.argsort(-np.abs(flat), kind="stable")[:STRONGEST]}
    n = len(next(iter(scores.values())))
    others = (int(i) for i in draw.permutation(n) if int(i) not in strong)
    return np.array(sorted(strong) + [i for i, _ in zip(others, range(CHECKED - len(strong)), strict=False)])


def _measure_effects(
    model: LanguageModel, case: ReadCase, found: Scores, groups: Sequence[Sequence[UnitKey]]
) -> Float[np.ndarray, " group"]:
    sites = [block.site for block in found.units.blocks]
    baseline = make_baseline(model, sites, corrupted=case.counterpart)
    cases = Cases.of([case.clean], case.metric)
    return measure_sets(model, cases, UnitSets.of(groups), baseline)[0]


def _summarise(name: str, task: str, trials: Sequence[Mapping[str, _PairAgreement]], seed: int) -> list[Agreement]:
    if not trials:
        raise PatchclampError(
            expected="pairs whose two prompts differ in m",
            got=f"none for {task} in {name}",
            remedy="Ask for more pairs, or leave the task out: the network does not do it.",
        )
    rows = []
    for method in trials[0]:
        held = [trial[method] for trial in trials]
        # A constant side has no rank correlation: such a prediction says nothing, which is what 0 says.
        rho = np.nan_to_num(np.array([h.spearman for h in held]))
        share = np.array([h.receipt for h in held])
        control = np.array([h.controls.mean() for h in held])
        rows.append(
            Agreement(
                name,
                task,
                method,
                len(held),
                float(rho.mean()),
                mean_interval(rho, seed=seed),
                float(share.mean()),
                mean_interval(share, seed=seed),
                float(control.mean()),
                mean_interval(control, seed=seed),
                float(np.mean([h.receipt > h.controls.max() for h in held])),
                sum(h.seconds for h in held),
            )
        )
    return rows
