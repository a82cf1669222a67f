"""Nodes: every neuron, head and feature at every position, each with a score."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from patchclamp.ablate import Baseline
from patchclamp.attribute.features import away, kind_of
from patchclamp.core.arguments import Natural, checked
from patchclamp.core.controls import Stratum, strata_of
from patchclamp.core.errors import PatchclampError
from patchclamp.core.keys import Block, UnitIndex
from patchclamp.core.recording import Recording
from patchclamp.core.site import Site
from patchclamp.core.unit import UnitKey
from patchclamp.subjects.bases import count_units, encode
from patchclamp.subjects.edits import widened
from patchclamp.subjects.model import Model

LEVELS = ("neuron", "head", "channel", "feature", "node")
"""Levels of units: an MLP's neurons and attention heads at every position, a map's channels over all its places, the
units of the bases that were added to the model, and what writes to the residual stream: the embedding, heads, MLPs."""
MOST_NAMED = 6
"""Sites that an error names."""
BYTES_PER_NODE = 48
"""Score, size and activation in double precision, the model's own value and gradient, and a sorting order."""


def level_sites(model: Model, levels: Sequence[str]) -> dict[str, str]:
    """Return the sites of some levels in forward order, each with its basis.

    Where a site has a basis of directions and features are asked for, they stand in the place of its neurons or heads:
    both tell the same value, and side by side they would count it twice.

    Raises:
        PatchclampError: an unknown level, or a model without such sites.
    """
    if levels == () and not model.levels:
        raise PatchclampError(
            expected="levels that name sites of a plain network",
            got="none",
            remedy=f"For example levels=[{model.sites()[-1].path!r}]; net.sites() lists them.",
        )
    unknown = [level for level in levels if level not in LEVELS and "." not in level]
    if unknown or not levels or not isinstance(levels, list | tuple):
        raise PatchclampError(
            expected=f"a list or tuple of levels among {', '.join(LEVELS)}, or of patterns of site paths",
            got=repr(levels),
            remedy=_choices(model),
        )
    ordered = sorted(levels, key=lambda level: level == "feature")
    chosen = {path: basis for level in ordered for path, basis in model.of_level(level).items()}
    if not chosen:
        raise PatchclampError(
            expected=f"a model with units of level {' or '.join(levels)}",
            got=f"{model.name}, which has none",
            remedy=_choices(model),
        )
    forward = [site.path for site in model.sites() if site.path in chosen]
    # Module sites, which are not listed among the canonical ones, come last, as they were named.
    return {path: chosen[path] for path in dict.fromkeys([*forward, *chosen])}


def _choices(model: Model) -> str:
    """Return what can be named as levels of a model: its own, or where it has none the paths of its sites."""
    if model.levels:
        return f"{model.name} has {', '.join(model.levels)}; `patchclamp sites MODEL` lists its sites."
    paths = [site.path for site in model.sites()]
    more = ", …" if len(paths) > MOST_NAMED else ""
    return f"Name sites of this plain network by their paths: {', '.join(paths[:MOST_NAMED])}{more}."


def pattern_sites(model: Model, patterns: Sequence[str], level: str) -> dict[str, str]:
    """Return the sites that patterns name in forward order, each with the basis of a level's units there.

    A pattern may end in ``/`` and a basis. Else a node is a head where a site has heads and the whole site where it
    has none, and a neuron is a head, a map's channel or a column.

    Raises:
        PatchclampError: a pattern that names nothing, or units that the site has not.
    """
    chosen: dict[str, str] = {}
    for pattern in patterns:
        path, _, basis = pattern.partition("/")
        for site in model.select(path):
            usual = "whole" if level == "node" else "channels" if len(site.places) == 2 else "neurons"
            chosen[site.path] = basis or ("heads" if site.n_heads else usual)
            count_units(model.basis_at(site.path, chosen[site.path]), site)
    forward = [site.path for site in model.sites()]
    return {path: chosen[path] for path in dict.fromkeys([*(p for p in forward if p in chosen), *chosen])}


def count_nodes(model: Model, n_positions: int, levels: Sequence[str]) -> int:
    """Return how many nodes a prompt of some length has; an image has as many positions as each site has places."""
    sites = level_sites(model, levels)
    return sum(math.prod(shape_of(model, path, basis, n_positions)) for path, basis in sites.items())


def shape_of(model: Model, path: str, basis: str, n_positions: int) -> tuple[int, int]:
    """Return how many positions and units a site's nodes have; a channel is one node over all places."""
    site = model.site(path)
    return (1 if basis == "channels" else site.n_places or n_positions), count_units(model.basis_at(path, basis), site)


def by_unit(values: Any, site: Site, basis: str) -> Float[np.ndarray, "position unit block"]:
    """Return a site's ``(position, width)`` values with one axis of units: blocks of one for neurons.

    The block of a channel is its values at all places; it stands at one position, which means everywhere.
    """
    if basis == "channels":
        return widened(values).cpu().double().numpy().T[None]
    n_units = {"heads": site.n_heads, "whole": 1}.get(basis, site.width)
    return widened(values).cpu().double().numpy().reshape(len(values), n_units, -1)


@checked
@dataclass(frozen=True, eq=False)
class Attribution:
    """Hold one score per node, and what they explain.

    Args:
        method: how the scores were made.
        baseline: what a value is held against, and replaced by.
        subject: slug of the model.
        scores: ``(site, basis)`` to ``(position, unit)`` scores in the metric's units.
        sizes: ``(site, basis)`` to ``(position, unit)`` ‖a − r‖: how far a value lies from its baseline.
        activations: the same of ‖a‖, signed for neurons and features.
        metric_clean: m on the prompt.
        gap: by how much the scores of one site fail to sum to what replacing the whole site does, at the worst site;
            None where the method promises no such sum.

    Example:
        >>> from patchclamp.opening import load
        >>> cat = load("organism:cat")
        >>> from patchclamp.core.metric import Metric
        >>> m = Metric("logit_difference", cat.continuation("the", " sat"), cat.continuation("the", " ran"))
        >>> from patchclamp.attribute import attribute_nodes
        >>> str(attribute_nodes(cat, "the old cat", m).top(1)[0])
        'cat/blocks.0.mlp.act/neurons/7@3'
    """

    method: str
    baseline: Baseline
    subject: str
    scores: Mapping[tuple[str, str], np.ndarray]
    sizes: Mapping[tuple[str, str], np.ndarray]
    activations: Mapping[tuple[str, str], np.ndarray]
    metric_clean: float
    gap: float | None = None

    @cached_property
    def flat(self) -> Float[np.ndarray, " node"]:
        """Every node's score: sites in forward order, then positions, then units."""
        return np.concatenate([values.ravel() for values in self.scores.values()])

    @cached_property
    def _first(self) -> np.ndarray:
        return np.concatenate([[0], np.cumsum([values.size for values in self.scores.values()])])

    @cached_property
    def idle(self) -> Bool[np.ndarray, " node"]:
        """Which nodes are features at their baseline: to replace one does nothing. Most of a sparse basis are."""
        parts = [
            sizes.ravel() == 0 if kind_of(basis) == "feature" else np.zeros(sizes.size, dtype=bool)
            for (_, basis), sizes in self.sizes.items()
        ]
        return np.concatenate(parts)

    @cached_property
    def strata(self) -> list[Stratum]:
        """Nodes that can stand for each other, by size: what random sets are drawn from."""
        blocks = [
            (site, basis, None if basis == "channels" else len(sizes), sizes.shape[1])
            for (site, basis), sizes in self.sizes.items()
        ]
        sparse = {basis: kind_of(basis) == "feature" for _, basis in self.sizes}
        return strata_of(blocks, np.concatenate([sizes.ravel() for sizes in self.sizes.values()]), sparse)

    @property
    def unit_index(self) -> UnitIndex:
        """Keys of the nodes, in the order of ``flat``."""
        blocks = [
            Block(site, basis, values.shape[1], None if basis == "channels" else len(values))
            for (site, basis), values in self.scores.items()
        ]
        return UnitIndex(blocks, self.subject)

    @property
    def total(self) -> float:
        """Σ of all scores."""
        return float(self.flat.sum())

    def key(self, i: int) -> UnitKey:
        """Return the node that stands at place ``i`` of ``flat``.

        Raises:
            PatchclampError: no such place.
        """
        if not 0 <= i < len(self.flat):
            raise PatchclampError(
                expected=f"a place from 0 to {len(self.flat) - 1}", got=str(i), remedy="Count from 0."
            )
        block = int(np.searchsorted(self._first, i, side="right")) - 1
        (site, basis), values = list(self.scores.items())[block]
        position, unit = divmod(int(i - self._first[block]), values.shape[1])
        return UnitKey(site, unit, basis, self.subject, None if basis == "channels" else position)

    def index(self, key: UnitKey) -> int:
        """Return a node's place in ``flat``; the inverse of ``key``.

        Raises:
            PatchclampError: no such node.
        """
        where = (key.site, key.basis)
        n_positions, n_units = self.scores[where].shape if where in self.scores else (0, 0)
        stranger = key.subject not in (None, self.subject)
        position = 0 if key.basis == "channels" and key.position is None else key.position
        if stranger or position is None or position >= n_positions or key.index >= n_units:
            raise PatchclampError(
                expected=f"a node among {len(self.flat):,}, such as {self.key(0)}",
                got=str(key),
                remedy="Name site, basis, unit and position.",
            )
        return int(self._first[list(self.scores).index(where)]) + position * n_units + key.index

    def score(self, key: UnitKey) -> float:
        """Return one node's score."""
        return float(self.flat[self.index(key)])

    def order(self, *, signed: bool = True) -> np.ndarray:
        """Return places of ``flat`` from the highest score down; by magnitude where not ``signed``."""
        return np.argsort(-self.flat if signed else -np.abs(self.flat), kind="stable")

    def top(self, k: Natural, *, signed: bool = True) -> list[UnitKey]:
        """Return the ``k`` highest nodes."""
        return [self.key(int(i)) for i in self.order(signed=signed)[:k]]

    def by_position(self) -> Float[np.ndarray, " position"]:
        """Return Σ of scores at every position; one sum where sites have not the same positions."""
        sums = [values.sum(1) for values in self.scores.values()]
        return np.sum(sums if len({len(s) for s in sums}) == 1 else [s.sum(keepdims=True) for s in sums], axis=0)


def distances(model: Model, path: str, basis: str, x: Any, baseline: Baseline) -> Float[np.ndarray, "position unit"]:
    """Return ‖n − r‖ for every unit at a site."""
    if kind_of(basis) == "feature":
        return widened(away(model.basis_at(path, basis), path, x, baseline)).abs().cpu().double().numpy()
    return np.linalg.norm(by_unit(x - baseline.at(path, x), model.site(path), basis), axis=-1)


def collect(
    model: Model,
    sites: Mapping[str, str],
    values: Recording,
    scored: Mapping[str, np.ndarray],
    baseline: Baseline,
) -> dict[str, dict[tuple[str, str], np.ndarray]]:
    """Return ``scores``, ``sizes`` and ``activations`` of an Attribution.

    Args:
        model: the subject.
        sites: site to basis.
        values: the clean run.
        scored: site to ``(position, unit)`` scores.
        baseline: what ``values`` is held against.
    """
    found: dict[str, dict[tuple[str, str], np.ndarray]] = {"scores": {}, "sizes": {}, "activations": {}}
    for path, basis in sites.items():
        found["scores"][path, basis] = scored[path]
        found["sizes"][path, basis] = distances(model, path, basis, values[path], baseline)
        if kind_of(basis) == "feature":
            f = encode(model.basis_at(path, basis), values[path])
            found["activations"][path, basis] = widened(f).cpu().double().numpy()
            continue
        x = by_unit(values[path], model.site(path), basis)
        found["activations"][path, basis] = x[..., 0] if x.shape[-1] == 1 else np.linalg.norm(x, axis=-1)
    return found
