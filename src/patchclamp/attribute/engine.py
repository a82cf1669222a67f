"""Score the units or edges of a task of one case or many: the engine of every method of this room."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from patchclamp.attribute.edge_patching import count_patch_bytes, count_patch_rows, patch_edges
from patchclamp.attribute.edges import attribute_edges, edge_memory
from patchclamp.attribute.nodes import level_sites
from patchclamp.attribute.options import Level
from patchclamp.attribute.pairs import SITES, Cost, attribute_pairs, cost_of
from patchclamp.attribute.prompt import attribute_nodes
from patchclamp.attribute.provenance import note_answers
from patchclamp.attribute.rules import PathIntegral, Replacement, Rule, find_rule
from patchclamp.core.errors import PatchclampError
from patchclamp.core.method import Method
from patchclamp.core.scores import Scores
from patchclamp.core.subject import Progress
from patchclamp.core.task import Task
from patchclamp.subjects.cases import ReadTask
from patchclamp.subjects.model import Model
from patchclamp.subjects.pass_memory import PYTHON
from patchclamp.subjects.plain import model_of
from patchclamp.subjects.residual_edges import edge_map, require_edges


def own_sites(model: Model, level: Level) -> list[str] | None:
    """Return the sites that replace a missing level of neurons: a model's channels, or a plain network's modules.

    Modules that hold others are left out, because they return what the last of these returns. None where the model has
    the level.
    """
    if level != "neuron" or set(SITES[level]) & set(model.levels):
        return None
    if model.levels:
        return list(level_sites(model, model.levels))
    paths = [site.path for site in model.sites() if site.path.endswith(".out")]
    return [
        path
        for path in paths
        if not any(other.startswith(path.removesuffix("out")) for other in paths if other != path)
    ]


def score_edges(
    model: Any,
    cases: ReadTask,
    *,
    method: str | Method | Rule,
    rules: Sequence[str] | None = None,
    steps: int | None = None,
    **how: Any,
) -> Scores:
    """Score every edge over cases: measured if the method replaces, else predicted from gradients.

    Args:
        model: a language model whose writers add to one stream.
        cases: prompts with counterparts, and m of each.
        method: a card that scores edges, or a rule.
        rules: relevance rules; only for methods that have this option.
        steps: points of a path; only for methods that have one.
        how: further arguments of ``patch_edges`` and ``attribute_edges``: direction, by_position, progress, keep.

    Returns:
        Scores: of every edge, ``(edge,)`` means and ``(case, edge)``, in units of m.

    Raises:
        PatchclampError: a method that scores no edges; what ``patch_edges`` and ``attribute_edges`` refuse.
    """
    _, rule = find_rule(method, "edge", rules=rules, steps=steps)
    if isinstance(rule, Replacement):
        return patch_edges(model, cases, **how)
    return attribute_edges(model, cases, method=method, rules=rules, steps=steps, **how)


def count_edges(
    model: Any,
    cases: ReadTask,
    *,
    method: str | Method | Rule,
    rules: Sequence[str] | None = None,
    steps: int | None = None,
    by_position: bool = False,
) -> Cost:
    """Count what ``score_edges`` takes; nothing is run.

    Args:
        model: a language model whose writers add to one stream.
        cases: the cases.
        method: as of ``score_edges``, like all that follow.

    Returns:
        Cost: rows of passes, counted where they pass the last MLP, and bytes besides the model's.

    Example:
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> task = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
        >>> cost = count_edges(cat, cat.read(task), method="eap")
        >>> cost.forward, cost.backward
        (2, 1)
    """
    n, n_pairs = len(edge_map(model)), len(cases)
    name, rule = find_rule(method, "edge", rules=rules, steps=steps)
    longest = max(map(len, cases.clean))
    if isinstance(rule, Replacement):
        n_spots = longest if by_position else 1
        memory = PYTHON + 8 * n_pairs * n_spots * n + count_patch_bytes(model, longest)
        return Cost(n, name, n_pairs * (2 + n_spots * (count_patch_rows(model) - 2)), 0, memory)
    memory = PYTHON + edge_memory(model, cases, by_position=by_position)
    n_points = rule.steps if isinstance(rule, PathIntegral) else 0
    return Cost(n, name, n_pairs * (2 + n_points), n_pairs * max(n_points, 1), memory)


def count_task(subject: Any, cases: ReadTask, rule: Rule, *, level: Level, by_position: bool = False) -> Cost:
    """Count what ``score_task`` takes; nothing is run.

    Args:
        subject: a network.
        cases: what ``subject.read(task)`` gave.
        rule: as of ``score_task``, like all that follow.

    Returns:
        Cost: rows of passes, and bytes besides the model's.

    Example:
        >>> from patchclamp.attribute.rules import Gradient
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> task = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
        >>> count_task(cat, cat.read(task), Gradient(), level="neuron").backward
        1
    """
    if level == "edge":
        return count_edges(require_edges(subject), cases, method=rule, by_position=by_position)
    sites, whole = own_sites(model_of(subject, cases), level), by_position or len(cases) == 1
    return cost_of(subject, cases, level=level, sites=sites, method=rule, by_position=whole)


def score_task(
    subject: Any,
    task: Task,
    rule: Rule,
    *,
    level: Level,
    sites: Sequence[str] | None = None,
    direction: str = "noise",
    by_position: bool = False,
    progress: Progress | None = None,
) -> Scores:
    """Score every unit or edge of a subject over a task's cases by a rule.

    A task of one case is scored position by position, unless ``sites`` are named. If it has no counterpart, its
    baseline is zero and every position is scored by itself.

    Args:
        subject: a network; a plain one needs ``sites``.
        task: cases with counterparts; one case may have none.
        rule: a gradient, a path integral, replacements, or magnitudes.
        level: what is scored.
        sites: patterns of site paths instead of the level's own; a plain network needs them.
        direction: which run is patched into: ``noise`` the clean one, ``denoise`` the counterpart's.
        by_position: keep positions apart; all cases must be of one length.
        progress: called as ``progress(done, total)``.

    Returns:
        Scores: ``(key,)`` means over cases, in units of m; of magnitudes in units of the activation.

    Raises:
        PatchclampError: edges without counterparts, several cases without counterparts, or what the rule refuses.

    Cost: stated by the methods' cards: they all end here.

    Example:
        >>> from patchclamp.attribute.rules import Gradient
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> task = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
        >>> str(score_task(cat, task, Gradient(), level="neuron").top(1)[0])
        'cat/blocks.0.mlp.act/neurons/7@3'
    """
    bare = [case for case in task.cases if case.counterpart is None]
    if bare and (len(task) > 1 or level == "edge"):
        raise PatchclampError(
            expected="a counterpart of every case, for edges and for several cases",
            got=f"{len(bare)} without",
            remedy="Give counterparts, or score one prompt's units.",
        )
    if bare:
        if sites is not None and level != "neuron":
            raise PatchclampError(
                expected="level 'neuron' with sites, for a case without a counterpart",
                got=repr(level),
                remedy="Name the basis behind a pattern, such as module.0.out/whole, or give a counterpart.",
            )
        cases = subject.read(task, least=None)
        model = model_of(subject, cases)
        chosen = sites if sites is not None else own_sites(model, level) or SITES[level]
        nodes = attribute_nodes(
            model, cases.clean[0], cases.metrics[0], method=rule, levels=chosen, direction=direction, progress=progress
        )
        made = nodes.provenance
        made = replace(made, extra={**made.extra, **note_answers(cases)})
        return replace(nodes, task=cases.task.hash, provenance=made)
    if level == "edge":
        subject = require_edges(subject)
    cases = subject.read(task)
    if level == "edge":
        if sites is not None:
            raise PatchclampError(
                expected="edges without sites",
                got=", ".join(sites)[:80],
                remedy="Leave sites out: edges have their own.",
            )
        scores = score_edges(
            subject, cases, method=rule, direction=direction, by_position=by_position, progress=progress
        )
        return replace(scores, task=cases.task.hash)
    if sites is None:
        sites = own_sites(model_of(subject, cases), level)
    scores = attribute_pairs(
        subject,
        cases,
        level=level,
        sites=sites,
        method=rule,
        direction=direction,
        by_position=by_position or (len(task) == 1 and sites is None),
        progress=progress,
    )
    return replace(scores, task=cases.task.hash)
