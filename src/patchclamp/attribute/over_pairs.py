"""Over pairs: every node, neuron and feature scored on many pairs of prompts, many prompts in one pass."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int

from patchclamp.ablate import Baseline, Cases, UnitSets, measure_sets
from patchclamp.attribute.direction import check_one_length, orient
from patchclamp.attribute.features import away, kind_of
from patchclamp.attribute.gradients import Ends, against, differentiated, integrated, measured, recorded, shared
from patchclamp.attribute.nodes import distances, level_sites, pattern_sites
from patchclamp.attribute.provenance import scores_over
from patchclamp.attribute.rules import Gradient, Magnitude, PathIntegral, Replacement, Rule, find_rule
from patchclamp.core.arguments import checked
from patchclamp.core.errors import CannotIntervene, PatchclampError
from patchclamp.core.intervention import Intervention, Source
from patchclamp.core.keys import Block, UnitIndex
from patchclamp.core.method import Method
from patchclamp.core.method_index import find_default
from patchclamp.core.scores import Scores
from patchclamp.core.subject import Keep, Progress, keep_nothing
from patchclamp.subjects.apply import upcast
from patchclamp.subjects.bases import count_units
from patchclamp.subjects.cases import ReadTask
from patchclamp.subjects.model import Model
from patchclamp.subjects.network import Network
from patchclamp.subjects.plain import check_places, model_of

UnitLevel = Literal["node", "neuron", "feature"]
MEASURED = 2000
"""Parts up to which each is replaced by itself where no method is named: a prediction may miss one without a word."""
SITES: Mapping[str, tuple[str, ...]] = {
    "node": ("node",), "neuron": ("neuron", "head"), "feature": ("neuron", "head", "feature")
}  # fmt: skip
"""Levels of ``attribute_nodes`` that a circuit's level is made of; features stand in the place of neurons."""
BATCH, GAP = 16, "|gap"
MOST_KEPT = 256 * 2**20
"""Bytes up to which the scores of every pair are kept beside their mean."""


@dataclass(frozen=True)
class Cost:
    """Say what scoring will take, before it begins.

    Args:
        parts: how many are scored.
        method: by what.
        forward: rows of forward passes, of one prompt each.
        backward: rows of backward passes.
        bytes: memory besides the model's: both ends and gradients of a batch, its activations, and what is kept.
    """

    parts: int
    method: str
    forward: int
    backward: int
    bytes: int


@dataclass
class _Tally:
    """The mean over pairs, and where there is room the score of every pair."""

    total: Float[np.ndarray, " part"]
    each: Float[np.ndarray, "pair part"] | None
    gaps: dict[str, float] = field(default_factory=dict)

    def add(self, some: Int[np.ndarray, " row"], first: int, scores: Float[np.ndarray, "row unit"]) -> None:
        here = slice(first, first + scores.shape[1])
        self.total[here] += scores.sum(0)
        if self.each is not None:
            self.each[some, here] = scores


@checked
def attribute_pairs(
    model: Network,
    cases: ReadTask,
    *,
    level: UnitLevel = "node",
    sites: Sequence[str] | None = None,
    method: str | Method | Rule | None = None,
    rules: Sequence[str] | None = None,
    steps: int | None = None,
    denoise: bool = False,
    by_position: bool = False,
    batch_size: int = BATCH,
    progress: Progress | None = None,
    keep: Keep = keep_nothing,
) -> Scores:
    r"""Score every node, neuron or feature over pairs: what m(x) owes to its being as under x, not as under x′.

    With n(x) what a unit does on the clean prompt, n(x′) on the corrupted one, d = n(x) − n(x′), one score per unit is

    | method | score, summed over positions, its mean over pairs |
    |---|---|
    | relp | d · ρ(n), ρ the gradient at x of the backward pass under the rules ln, identity, half |
    | attribution_patching | d · ∂m/∂n at x |
    | integrated_gradients | d · ∫₀¹ ∂m/∂n at n(x′) + α d dα in the run on x, one site's units moving together |
    | direct_logit | d · ∂m/∂n through the residual stream alone |
    | activation | ‖n(x)‖ |
    | activation_patching | m(x) − m(x with n := n(x′) at all positions) |

    The run on x is the one that is patched into. With ``denoise`` it is the run on x′, for every method:
    activation_patching is m(x′ with n := n(x)) − m(x′), and that is what the others then predict.

    Args:
        model: the subject; of a wrapped plain network units at module sites, which ``sites`` names.
        cases: what ``subject.read(task)`` gave.
        level: ``node``: the embedding, heads, MLPs; ``neuron``: MLP neurons and heads; ``feature``: units of the bases
            that were added, neurons where a site has none, heads.
        sites: patterns of site paths instead of the level's own; a node is then a head or a whole site, a neuron a
            head, a channel or a column, and ``/`` and a basis behind a pattern says otherwise.
        method: one of the table, or a rule of ``attribute.rules``; where left out ``activation_patching`` for up to
            2,000 parts, of which none can then be missed, and above them what is the default of the level.
        rules: others than the method's own, for relp; relp where no method is named.
        steps: points of the path, for integrated_gradients.
        denoise: patch clean values into the corrupted run.
        by_position: score every position by itself; all pairs must be of one length.
        batch_size: pairs in one pass; of replacements, four times as many rows.
        progress: called with batches done and in all; of replacements, with pairs.
        keep: where the scores of every batch are kept as soon as they are known, such as ``Bundle.once``.

    Returns:
        Scores: parts in forward order with the mean of their scores, and the scores of every pair where they take no
        more than 256 MB.

    Raises:
        PatchclampError: an unknown level or method, rules or steps that do not go with it, pairs of several lengths by
            position, features without a basis, a model without gradients.

    Cost: gradients: two forward passes and one backward of every pair. Integrals: ``steps`` of both per pair and site.
    Replacements: a row of a forward pass per pair and part. ``cost_of`` counts them.

    Example:
        >>> from patchclamp.core.task import Task
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> task = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
        >>> cases = cat.read(task)
        >>> found = attribute_pairs(cat, cases, level="neuron", method="activation_patching")
        >>> str(found.top(1)[0]), round(float(found.values.max()), 2)
        ('cat/blocks.0.mlp.act/neurons/7', 8.0)
    """
    model = model_of(model, cases)
    bases = _checked(model, cases, level, sites, batch_size, by_position=by_position)
    n_places = len(cases.clean[0]) if by_position else 1
    parts = UnitIndex(_blocks(model, bases, n_places if by_position else None), model.name)
    method_name, rule = _find_rule(model, method or default_method(level, len(parts), rules=rules), rules, steps)
    firsts = dict(zip(bases, parts.firsts, strict=False))
    direction = "denoise" if denoise else "noise"
    ends, sign = orient(cases, direction)
    kept = len(cases) * len(parts) * 4 <= MOST_KEPT
    tally = _Tally(np.zeros(len(parts)), np.zeros((len(cases), len(parts)), dtype=np.float32) if kept else None)
    if isinstance(rule, Replacement):
        _patched(model, ends, bases, parts, tally, batch_size, progress, keep)
    else:
        batches = list(ends.batches_by_length(batch_size))
        for done, some in enumerate(batches, start=1):

            def scored(some: np.ndarray = some) -> dict[str, np.ndarray]:
                gaps: dict[str, float] = {}
                scores = _scored(model, ends, some, bases, rule, gaps)
                found: dict[str, np.ndarray] = {}
                for path, values in scores:
                    rows = values.unflatten(0, (len(some), -1))
                    found[path] = (rows.flatten(1) if by_position else rows.sum(1)).cpu().numpy()
                return found | {f"{path}{GAP}": np.array(gap) for path, gap in gaps.items()}

            for name, values in keep(f"batch-{done:05d}", scored).items():
                path = name.removesuffix(GAP)
                if name == path:
                    tally.add(some, firsts[path], values)
                else:
                    tally.gaps[path] = tally.gaps.get(path, 0.0) + values.item()
            if progress is not None:
                progress(done, len(batches))
    options: dict[str, Any] = {"level": level, "by_position": by_position, "direction": direction}
    extra: dict[str, Any] = {}
    if isinstance(rule, Gradient):
        options["rules"] = list(rule.rules)
    elif isinstance(rule, PathIntegral):
        options["steps"], extra["gap"] = rule.steps, max(tally.gaps.values()) / len(cases)
    elif isinstance(rule, Replacement):
        extra["measured"] = True
    used = {f"{path}/{basis}": model.basis_at(path, basis).hash for path, basis in bases.items() if _learnt(basis)}
    each = tally.each
    if each is not None:
        each *= np.float32(sign)
    return scores_over(
        model,
        cases,
        parts,
        sign * tally.total / len(cases),
        each,
        method=f"attribute/{method_name}",
        options=options,
        hashes=used,
        **extra,
    )


def default_method(level: str, n_parts: int, *, rules: Sequence[str] | None = None) -> str:
    """Return how parts are scored where nobody says it.

    Args:
        level: what they are.
        n_parts: how many.
        rules: relevance rules; the method that has them is then what was meant.

    Example:
        >>> default_method("node", 157), default_method("neuron", 37_008), default_method("edge", 32_491)
        ('activation_patching', 'attribution_patching', 'eap_ig')
    """
    if rules is not None:
        return find_default("circuit", "attribute", key="rules")
    return find_default("circuit", "attribute", key="" if n_parts <= MEASURED else level)


def _find_rule(
    model: Model, method: str | Method | Rule, rules: Sequence[str] | None, steps: int | None
) -> tuple[str, Rule]:
    """Return a method's name and rule, once the model has what it needs."""
    name, rule = find_rule(method, "unit", rules=rules, steps=steps)
    if isinstance(rule, Gradient) and rule.rules and not model.levels:
        raise CannotIntervene(
            expected="a model of a known family, for relevance rules",
            got=model.name,
            remedy="Take method='attribution_patching', 'integrated_gradients' or 'activation_patching'.",
        )
    if isinstance(rule, Gradient | PathIntegral):
        model.require("differentiate")
    return name, rule


def cost_of(
    model: Network,
    cases: ReadTask,
    *,
    level: UnitLevel = "node",
    sites: Sequence[str] | None = None,
    method: str | Method | Rule | None = None,
    rules: Sequence[str] | None = None,
    steps: int | None = None,
    by_position: bool = False,
    batch_size: int = BATCH,
) -> Cost:
    """Count what ``attribute_pairs`` will take; nothing is run.

    Raises:
        PatchclampError: whatever ``attribute_pairs`` refuses.
        CannotIntervene: a model without gradients, for a method that needs them.
    """
    model = model_of(model, cases)
    bases = _checked(model, cases, level, sites, batch_size, by_position=by_position)
    longest = max(model.site(path).n_places for path in bases) or max(map(len, cases.clean))
    widths = {path: model.site(path).width for path in bases}
    parts, n = len(UnitIndex(_blocks(model, bases, longest if by_position else None))), len(cases)
    name, rule = _find_rule(model, method or default_method(level, parts, rules=rules), rules, steps)
    tokens = min(n, batch_size) * longest
    size = torch.finfo(model.dtype).bits // 8
    ends = 3 * sum(widths.values()) * tokens * size + 3 * max(widths.values()) * tokens * 8
    # What a backward pass keeps of a block is some twenty times its stream, besides attention's pattern.
    within = 20 * sum(widths.values()) * tokens * 4
    if model.n_layers:
        stream, n_heads = model.site("blocks.0.resid_in").width, max(model.site("blocks.0.attn.z").n_heads, 1)
        within = tokens * model.n_layers * (20 * stream + 4 * longest * n_heads) * 4
    kept = n * parts * 4 if n * parts * 4 <= MOST_KEPT else 0
    forward, backward = 2 * n, n
    if isinstance(rule, PathIntegral):
        forward, backward = n * (2 + len(bases) * (rule.steps + 1)), n * len(bases) * rule.steps
    elif not isinstance(rule, Gradient):
        forward, backward = n * (2 + parts if isinstance(rule, Replacement) else 1), 0
    return Cost(parts, name, forward, backward, ends + (within if backward else 0) + kept + 8 * parts)


def _learnt(basis: str) -> bool:
    return kind_of(basis) == "feature"


def _checked(
    model: Model,
    cases: ReadTask,
    level: str,
    patterns: Sequence[str] | None,
    batch_size: int,
    *,
    by_position: bool,
) -> dict[str, str]:
    """Return the sites of a level with their bases, once everything is in order."""
    if level not in SITES:
        raise PatchclampError(
            expected=f"a level among {', '.join(SITES)}", got=repr(level), remedy="attribute_edges scores edges."
        )
    if batch_size < 1:
        raise PatchclampError(expected="at least 1 pair in a batch", got=str(batch_size), remedy="Give a larger one.")
    n_places = check_one_length(cases) if by_position else 0
    if patterns is None and not model.levels and level != "feature":
        raise PatchclampError(
            expected="sites of a plain network",
            got="none",
            remedy=f"For example sites=[{model.sites()[-1].path!r}]; net.sites() lists them.",
        )
    sites = level_sites(model, SITES[level]) if patterns is None else pattern_sites(model, patterns, level)
    if by_position:
        check_places(model, list(sites), n_places, "Leave positions together.")
    return sites


def _blocks(model: Model, sites: Mapping[str, str], n_places: int | None) -> list[Block]:
    return [
        Block(path, basis, count_units(model.basis_at(path, basis), model.site(path)), n_places)
        for path, basis in sites.items()
    ]


def _scored(
    model: Model,
    cases: ReadTask,
    some: Int[np.ndarray, " row"],
    sites: Mapping[str, str],
    rule: Rule,
    gaps: dict[str, float],
) -> Iterator[tuple[str, torch.Tensor]]:
    """Return the scores of every site over some pairs, ``(row, unit)``, as a rule says."""
    if isinstance(rule, PathIntegral):
        return _integrated(model, cases, some, sites, rule.steps, gaps)
    if isinstance(rule, Magnitude):
        return _magnitudes(model, cases, some, sites)
    assert isinstance(rule, Gradient)
    return _shares(model, _ends(model, cases, some, list(sites), rule.rules), sites)


def _magnitudes(
    model: Model, cases: ReadTask, some: Int[np.ndarray, " row"], sites: Mapping[str, str]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Return ‖n‖ of every unit; of a channel over all places of its image."""
    values = recorded(model, [cases.clean[i] for i in some], list(sites))
    for path, basis in sites.items():
        parts = values[path].unflatten(0, (len(some), -1)) if basis == "channels" else [values[path]]
        yield path, torch.cat([torch.as_tensor(distances(model, path, basis, x, Baseline("zero"))) for x in parts])


def _ends(
    model: Model, cases: ReadTask, some: Int[np.ndarray, " row"], paths: Sequence[str], rules: Sequence[str]
) -> Ends:
    clean, other = [cases.clean[i] for i in some], [cases.counterpart[i] for i in some]
    return differentiated(model, clean, other, cases.metric(some), paths, rules, plain=Baseline("zero"))


def _shares(model: Model, ends: Ends, sites: Mapping[str, str]) -> Iterator[tuple[str, torch.Tensor]]:
    for path, basis in sites.items():
        yield path, shared(model, path, _rowwise(basis), ends.values[path], ends.baseline, ends.gradients[path])


def _rowwise(basis: str) -> str:
    """Return the basis by which rows of several maps are scored: a channel's are summed per pair, not over all."""
    return "neurons" if basis == "channels" else basis


def _integrated(
    model: Model,
    cases: ReadTask,
    some: Int[np.ndarray, " row"],
    sites: Mapping[str, str],
    steps: int,
    gaps: dict[str, float],
) -> Iterator[tuple[str, torch.Tensor]]:
    """Integrate site by site, and note by how much the sum of a site's scores misses what replacing it all does."""
    clean, metric = [cases.clean[i] for i in some], cases.metric(some)
    values, metric_clean = measured(model, clean, metric, list(sites))
    other = recorded(model, [cases.counterpart[i] for i in some], list(sites))
    for path, basis in sites.items():
        own = integrated(
            model, clean, metric, path, _rowwise(basis), values[path], against(other), steps, rows=len(some)
        )  # fmt: skip
        whole = basis if _learnt(basis) else "neurons"
        changes = [
            [Intervention(path, "patch", None, whole, source=Source(other, stimulus=i))] for i in range(len(some))
        ]
        effects = metric_clean - upcast(model.measure(clean, metric, interventions=changes)).cpu().double().numpy()
        sums = own.unflatten(0, (len(some), -1)).sum((1, 2)).cpu().numpy()
        gaps[path] = float(np.abs(sums - effects).sum())
        yield path, own


def _patched(
    model: Model,
    cases: ReadTask,
    sites: Mapping[str, str],
    parts: UnitIndex,
    tally: _Tally,
    batch_size: int,
    progress: Progress | None,
    keep: Keep,
) -> None:
    """Replace every part by itself, pair by pair; features alike at both ends are left out: nothing happens."""
    learnt = {path: basis for path, basis in sites.items() if _learnt(basis)}

    def scored(i: int) -> dict[str, np.ndarray]:
        moved = np.ones(len(parts), dtype=bool)
        if learnt:
            there, other = (recorded(model, [side[i]], list(learnt)) for side in (cases.clean, cases.counterpart))
            for block, first in zip(parts.blocks, parts.firsts, strict=False):
                if block.site in learnt:
                    basis, baseline = model.basis_at(block.site, block.basis), Baseline("corrupted", other)
                    differs = (away(basis, block.site, there[block.site], baseline) != 0).cpu().numpy()
                    own = differs.any(0) if block.n_places is None else differs
                    moved[first : first + block.size] = own.ravel()
        chosen, scores = np.flatnonzero(moved), np.zeros(len(parts))
        if len(chosen):
            alone, sets = Cases([cases.clean[i]], [cases.metrics[i]]), UnitSets(parts, chosen[:, None])
            baseline = Baseline("corrupted", shown=(cases.counterpart[i],))
            [values] = measure_sets(model, alone, sets, baseline, batch_size=4 * batch_size)
            scores[chosen] = cases.m_clean[i] - values
        return {"scores": scores}

    for i in range(len(cases)):
        scores = keep(f"batch-{i + 1:05d}", partial(scored, i))["scores"]
        tally.add(np.array([i]), 0, scores[None])
        if progress is not None:
            progress(i + 1, len(cases))
