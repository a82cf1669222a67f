"""Score the units of many cases, many prompts in one pass, and count what that takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from patchclamp.attribute.batch import score_batch
from patchclamp.attribute.direction import check_one_length, orient
from patchclamp.attribute.features import kind_of
from patchclamp.attribute.nodes import level_sites, pattern_sites, unit_blocks
from patchclamp.attribute.options import UnitLevel
from patchclamp.attribute.provenance import scores_over
from patchclamp.attribute.rules import Gradient, Magnitude, PathIntegral, Replacement, Rule, describe_rule, find_rule
from patchclamp.core.arguments import checked
from patchclamp.core.checks import at_least, one_of
from patchclamp.core.errors import CannotIntervene, PatchclampError
from patchclamp.core.keys import UnitIndex
from patchclamp.core.method import Method
from patchclamp.core.method_index import find_default
from patchclamp.core.scores import Scores
from patchclamp.core.subject import Keep, Progress, keep_nothing
from patchclamp.subjects.cases import ReadTask
from patchclamp.subjects.model import Model
from patchclamp.subjects.network import Network
from patchclamp.subjects.pass_memory import PYTHON, count_backward_bytes, count_forward_bytes
from patchclamp.subjects.plain import check_places, model_of

MEASURED = 2000
"""Parts up to which each is replaced by itself where no method is named: a prediction may miss one without a word."""
SITES: Mapping[str, tuple[str, ...]] = {
    "node": ("node",),
    "neuron": ("neuron", "head"),
    "feature": ("neuron", "head", "feature"),
}
"""Levels of ``attribute_nodes`` that a circuit's level is made of; features stand in the place of neurons."""
BATCH, GAP = 16, "|gap"
MOST_KEPT = 256 * 2**20
"""Bytes up to which the scores of every pair are kept beside their mean."""


@dataclass(frozen=True)
class Cost:
    """Hold what scoring takes, before it begins.

    Args:
        parts: how many are scored.
        method: name of the method.
        forward: rows of forward passes, of one prompt each.
        backward: rows of backward passes.
        bytes: memory besides the model's: both ends and gradients of a batch, its activations, and the scores.
    """

    parts: int
    method: str
    forward: int
    backward: int
    bytes: int


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
    direction: str = "noise",
    by_position: bool = False,
    batch_size: int = BATCH,
    seed: int = 0,
    progress: Progress | None = None,
    keep: Keep = keep_nothing,
) -> Scores:
    r"""Score every node, neuron or feature over cases: what m(x) loses when each is as under the counterpart x′.

    With n(x) the activation of a unit on the clean prompt, n(x′) on its counterpart, d = n(x) − n(x′), the score of a
    unit is

    | method | score, summed over positions, its mean over cases |
    |---|---|
    | relp | d · ρ(n), ρ the gradient at x of the backward pass under the rules ln, identity, half |
    | attribution_patching | d · ∂m/∂n at x |
    | integrated_gradients | d · ∫₀¹ ∂m/∂n at n(x′) + α d dα in the run on x, one site's units moving together |
    | direct_logit | d · ∂m/∂n through the residual stream alone |
    | activation | ‖n(x)‖ |
    | activation_patching | m(x) − m(x with n := n(x′) at all positions) |

    The run on x is the one that is patched into. With the direction ``denoise`` it is the run on x′, for every method:
    activation_patching is m(x′ with n := n(x)) − m(x′), and that is what the others then predict.

    Args:
        model: the subject; of a wrapped plain network units at module sites, which ``sites`` names.
        cases: what ``subject.read(task)`` gave.
        level: ``node``: the embedding, heads, MLPs; ``neuron``: MLP neurons and heads; ``feature``: units of the bases
            that were added, neurons at sites without one, heads.
        sites: patterns of site paths instead of the level's own; a node is then a head or a whole site, a neuron a
            head, a channel or a column, and ``/`` and a basis behind a pattern says otherwise.
        method: one of the table, or a rule of ``attribute.rules``; the default is ``activation_patching`` for up to
            2,000 units, so that none is missed, and above them the default of the level.
        rules: relevance rules instead of the method's own; only for relp, which is the default with rules.
        steps: Gauss-Legendre points of the path; only for integrated_gradients.
        direction: ``noise``: values of the counterpart into the clean run; ``denoise``: the reverse.
        by_position: keep positions apart; all prompts must be of one length.
        batch_size: prompts in one pass; of replacements, four times as many rows.
        seed: of a method's draws, such as the noise of smoothgrad.
        progress: called with batches done and in all; of replacements, with cases.
        keep: stores the scores of every batch as soon as they are computed, such as ``Bundle.once``.

    Returns:
        Scores: units in forward order with ``(unit,)`` means, and ``(case, unit)`` scores if they take no more than 256
            MB, in units of m.

    Raises:
        PatchclampError: an unknown level or method, rules or steps that do not go with it, pairs of several lengths by
            position, features without a basis, a model without gradients.

    Source: see the methods' cards.

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
    sites_scored = _find_sites(model, cases, level, sites, batch_size, by_position=by_position)
    blocks = unit_blocks(model, sites_scored, len(cases.clean[0]) if by_position else None)
    parts = UnitIndex(blocks, model.name)
    chosen = method or default_method(level, len(parts), rules=rules)
    method_name, rule = _find_rule(model, chosen, rules, steps, seed)
    ends, sign = orient(cases, direction)
    # A replacement takes one case at a time: its rows are units. Every other rule takes many of one length.
    replaces = isinstance(rule, Replacement)
    batches = [np.array([i]) for i in range(len(cases))] if replaces else list(ends.batches_by_length(batch_size))
    rows = 4 * batch_size if replaces else batch_size
    total, gaps = np.zeros(len(parts)), np.zeros(len(blocks))
    each = np.zeros((len(cases), len(parts)), np.float32) if len(cases) * len(parts) * 4 <= MOST_KEPT else None

    def score(some: np.ndarray) -> dict[str, np.ndarray]:
        counterparts = None if isinstance(rule, Magnitude) else [ends.counterpart[i] for i in some]
        batch = score_batch(
            model, [ends.clean[i] for i in some], counterparts, ends.metric(some), blocks, rule, rows=rows
        )
        return batch.scores | {f"{path}{GAP}": np.array(gap) for path, gap in batch.gaps.items()}

    for done, some in enumerate(batches, start=1):
        arrays = keep(f"batch-{done:05d}", partial(score, some))
        scores = np.concatenate([arrays[block.site] for block in blocks], axis=1)  # (case, part)
        total += scores.sum(0)
        gaps += [float(arrays.get(f"{block.site}{GAP}", 0.0)) for block in blocks]
        if each is not None:
            each[some] = sign * scores
        if progress is not None:
            progress(done, len(batches))
    options, extra = describe_rule(rule)
    if isinstance(rule, PathIntegral):
        extra["gap"] = float(gaps.max()) / len(cases)
    learnt = {path: basis for path, basis in sites_scored.items() if kind_of(basis) == "feature"}
    return scores_over(
        model,
        cases,
        parts,
        sign * total / len(cases),
        each,
        method=f"attribute/{method_name}",
        options={"level": level, "by_position": by_position, "direction": direction, **options},
        hashes={f"{path}/{basis}": model.basis_at(path, basis).hash for path, basis in learnt.items()},
        **extra,
    )


def default_method(level: str, n_parts: int, *, rules: Sequence[str] | None = None) -> str:
    """Return the default method for a number of units.

    Args:
        level: what is scored.
        n_parts: how many.
        rules: relevance rules; the default is then the method that has them.

    Returns:
        str: its name.

    Example:
        >>> default_method("node", 157), default_method("neuron", 37_008), default_method("edge", 32_491)
        ('activation_patching', 'attribution_patching', 'eap_ig')
    """
    if rules is not None:
        return find_default("circuit", "attribute", key="rules")
    return find_default("circuit", "attribute", key="" if n_parts <= MEASURED else level)


def _find_rule(
    model: Model, method: str | Method | Rule, rules: Sequence[str] | None, steps: int | None, seed: int = 0
) -> tuple[str, Rule]:
    """Return a method's name and rule, once the model has what it needs."""
    name, rule = find_rule(method, "unit", rules=rules, steps=steps, seed=seed)
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
    """Count the passes and bytes that ``attribute_pairs`` takes; nothing is run.

    Args:
        model: the subject.
        cases: the cases.
        level: as of ``attribute_pairs``, like all that follow.

    Returns:
        Cost: rows of forward and backward passes, and bytes besides the model's.

    Raises:
        PatchclampError: whatever ``attribute_pairs`` refuses.
        CannotIntervene: a model without gradients, for a method that needs them.

    Example:
        >>> from patchclamp.core.task import Task
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> task = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
        >>> cost_of(cat, cat.read(task)).forward
        14
    """
    model = model_of(model, cases)
    bases = _find_sites(model, cases, level, sites, batch_size, by_position=by_position)
    longest = max(model.site(path).n_places for path in bases) or max(map(len, cases.clean))
    parts, n = len(UnitIndex(unit_blocks(model, bases, longest if by_position else None))), len(cases)
    name, rule = _find_rule(model, method or default_method(level, parts, rules=rules), rules, steps)
    kept = n * parts * 4 if n * parts * 4 <= MOST_KEPT else 0
    ends = 1 + cases.has_counterparts
    if isinstance(rule, PathIntegral):
        forward, backward = n * (ends + len(bases) * (rule.steps + 1)), n * len(bases) * rule.steps
    elif isinstance(rule, Gradient):
        forward, backward = n * (ends - 1 + rule.passes[0]), n * rule.passes[1]
    else:
        # Streams are recorded once, where a pass begins behind the first block.
        streams = model.restarts and any(model.first_layer(path) for path in bases)
        forward, backward = n * (ends + streams + parts if isinstance(rule, Replacement) else 1), 0
    held = _batch_bytes(model, list(bases), rule, n, longest, batch_size)
    return Cost(parts, name, forward, backward, PYTHON + held + kept + 8 * parts)


def _batch_bytes(model: Model, paths: Sequence[str], rule: Rule, n: int, longest: int, batch_size: int) -> int:
    """Return what scoring a batch of cases holds."""
    rows, size = min(n, batch_size), torch.finfo(model.dtype).bits // 8
    widths = [model.site(path).width for path in paths]
    values = longest * size * sum(widths)  # of one case at all sites
    if isinstance(rule, Gradient):
        # Activations stand beside what the backward pass needs; then gradients and counterparts beside activations, and
        # of one site their products in double precision.
        backward = rows * (count_backward_bytes(model, longest) + values)
        return max(backward, rows * (3 * values + 3 * 8 * longest * max(widths)))
    streams = longest * size * model.site("blocks.0.resid_in").width * model.n_layers if model.n_layers else 0
    if isinstance(rule, PathIntegral):
        along = min(batch_size, n * rule.steps) * count_backward_bytes(model, longest)
        return along + rows * (2 * values + streams)
    replaced = {model.site(path).kind for path in paths}
    if isinstance(rule, Replacement):
        return 4 * batch_size * count_forward_bytes(model, longest, replaced) + 2 * values + streams
    return rows * (count_forward_bytes(model, longest) + 2 * values)


def _find_sites(
    model: Model,
    cases: ReadTask,
    level: str,
    patterns: Sequence[str] | None,
    batch_size: int,
    *,
    by_position: bool,
) -> dict[str, str]:
    """Return the sites of a level with their bases, once everything is in order."""
    one_of("level", level, SITES, remedy="attribute_edges scores edges.")
    at_least("a batch size", batch_size, 1)
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
