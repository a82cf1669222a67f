"""Score a task: the one engine under the methods that attribute, for one case or many, units or edges."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from patchclamp.attribute.edges import attribute_edges
from patchclamp.attribute.nodes import Attribution
from patchclamp.attribute.over_pairs import attribute_pairs
from patchclamp.attribute.scoring import attribute_nodes
from patchclamp.core.circuit import Circuit
from patchclamp.core.errors import PatchclampError
from patchclamp.core.keys import Block, EdgeIndex, UnitIndex
from patchclamp.core.provenance import Provenance
from patchclamp.core.scores import Scores
from patchclamp.core.subject import Progress
from patchclamp.core.task import Task
from patchclamp.subjects.cases import Cases
from patchclamp.subjects.edges import with_edges
from patchclamp.subjects.plain import model_of

Level = Literal["node", "neuron", "feature", "edge"]
SITES = {"node": ("node",), "neuron": ("neuron", "head"), "feature": ("neuron", "head", "feature")}


def score_task(
    subject: Any,
    task: Task,
    *,
    method: str,
    level: Level,
    sites: Sequence[str] | None = None,
    rules: Sequence[str] | None = None,
    direction: str = "noise",
    by_position: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> Scores:
    """Return a score for every unit or edge of a subject over a task's cases.

    A task of one case is scored position by position, unless ``sites`` are named; without a counterpart its baseline is
    zero, and every position is scored by itself.

    Args:
        subject: the network.
        task: what is asked.
        method: the engine's rule: ``relp``, ``atp``, ``ig``, ``patch`` of units; ``eap``, ``eap-ig`` of edges.
        level: what is scored.
        sites: patterns of site paths instead of the level's own; a plain network needs them.
        rules: relevance rules that replace the backward pass.
        direction: ``noise`` or ``denoise``.
        by_position: keep positions apart; all cases must be of one length.
        progress: called with what is done and what there is in all.
        settings: further ones of the rule, such as ``steps``.

    Raises:
        PatchclampError: edges without counterparts, several cases without counterparts, or what the rule refuses.
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
        found = attribute_nodes(
            model_of(subject, cases), cases.clean[0], cases.metrics[0], method="exact" if method == "patch" else method,
            levels=SITES[level] if sites is None else sites, rules=rules, direction=direction, progress=progress,
            **settings,
        )  # fmt: skip
        return _of_nodes(found, cases.task)
    if level == "edge":
        subject = with_edges(subject)
    cases = subject.read(task)
    if level == "edge":
        if sites is not None:
            raise PatchclampError(
                expected="edges without sites",
                got=", ".join(sites)[:80],
                remedy="Leave sites out: edges have their own.",
            )
        edges = attribute_edges(
            subject, cases, method=method, rules=rules or (), direction=direction, progress=progress, **settings
        )
        units = dict.fromkeys((*edges.edges.writers, *edges.edges.readers))
        numbers = {unit: i for i, unit in enumerate(units)}
        ends = np.array([[numbers[source], numbers[target]] for source, target in edges.edges.parts])
        return _signed(EdgeIndex(tuple(units), ends, subject.name), edges.mean, cases, edges.scores, edges.settings)
    circuit = attribute_pairs(
        subject, cases, level=level, sites=sites, method=method, rules=rules, denoise=direction == "denoise",
        by_position=by_position or (len(task) == 1 and sites is None), progress=progress, **settings,
    )  # fmt: skip
    return _signed(_index_of(circuit, subject.name), circuit.scores, cases, circuit.per_pair, circuit.about["settings"])


def _of_nodes(found: Attribution, task: Task) -> Scores:
    blocks = [
        Block(site, basis, values.shape[1], None if basis == "channels" else values.shape[0])
        for (site, basis), values in found.scores.items()
    ]
    measures = {
        name: np.concatenate([values.ravel() for values in columns.values()])
        for name, columns in (("size", found.sizes), ("activation", found.activations))
    }
    extra = {} if found.gap is None else {"gap": found.gap}
    return Scores(
        UnitIndex(blocks, found.subject), found.flat, "m", found.baseline.kind, found.metric_clean, measures=measures,
        task=task.hash, provenance=Provenance(extra=extra),
    )  # fmt: skip


def _index_of(circuit: Circuit, subject: str) -> UnitIndex:
    """Return the index of a circuit's parts, which lie site by site, position by position."""
    units: Any = circuit.parts
    return UnitIndex(units.blocks, subject)


def _signed(index: UnitIndex | EdgeIndex, values: Any, cases: Cases, each: Any, settings: Any) -> Scores:
    return Scores(
        index, np.asarray(values, dtype=np.float64), "m", "corrupted", float(cases.m_clean.mean()),
        float(cases.m_counterpart.mean()), per_case=None if each is None else np.asarray(each), task=cases.task.hash,
        provenance=Provenance(extra={"settings": dict(settings), "skipped": cases.count_skipped()}),
    )  # fmt: skip
