"""Strata of random controls: a circuit's parts by site and position, and how far each is from its baseline."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchclamp.ablate.baseline import Baseline
from patchclamp.ablate.cases import Cases, Turn
from patchclamp.core.controls import Stratum, kind_at
from patchclamp.core.keys import Part
from patchclamp.core.scores import KINDS
from patchclamp.core.unit import UnitKey
from patchclamp.subjects.apply import upcast
from patchclamp.subjects.bases import encode
from patchclamp.subjects.model import Model

AT_ONCE = 16
"""Cases that are recorded in one turn."""
EMBEDDING = "embed"
"""To replace it is to show the counterpart: it stands in no random set."""


@dataclass(frozen=True)
class Where:
    """A site and basis, a position (None where a unit stands for all), and the kind of what is there."""

    site: str
    basis: str
    position: int | None
    kind: str


def read_parts(parts: Sequence[str]) -> tuple[list[Where], Int[np.ndarray, " part"]]:
    """Return the site, basis and position of every unit, and its index there; a key is parsed once per site."""
    heads: dict[str, UnitKey] = {}
    places: dict[tuple[str, str], Where] = {}
    where, units = [], np.zeros(len(parts), dtype=np.int64)
    for i, part in enumerate(parts):
        head, _, tail = part.rpartition("/")
        unit, _, at = tail.partition("@")
        if head not in heads:
            heads[head] = UnitKey.parse(part)
        if (head, at) not in places:
            key = replace(heads[head], position=None) if not at else UnitKey.parse(part)
            places[head, at] = Where(key.site, key.basis, key.position, kind_at(key.site, key.basis))
        where.append(places[head, at])
        units[i] = int(unit)
    return where, units


def arrange_parts(parts: Sequence[Part]) -> tuple[Int[np.ndarray, " part"], list[Stratum], list[int]]:
    """Sort parts into strata of random controls, without sizes, and return which parts stand in no set.

    The embedding stands in none. Edges into readers of one site are one stratum.
    """
    whole = [isinstance(part, str) for part in parts]
    places, units = read_parts([part if isinstance(part, str) else part[1] for part in parts])
    numbers = {place: n for n, place in enumerate(dict.fromkeys(places))}
    strata_of_parts = np.array([numbers[place] for place in places])
    # Edges into readers of one site are in their own order.
    order = np.lexsort((np.where(whole, units, 0), strata_of_parts))
    counts = np.bincount(strata_of_parts, minlength=len(numbers))
    firsts = np.cumsum(counts) - counts
    strata = [
        Stratum(place.site, place.kind, place.position, np.zeros(n), int(first), is_unit and place.basis not in KINDS)
        for place, n, first, is_unit in zip(numbers, counts, firsts, [whole[i] for i in order[firsts]], strict=True)
    ]
    barred = [i for i, place in enumerate(places) if whole[i] and place.site == EMBEDDING]
    return order, strata, barred


def with_sizes(
    order: Int[np.ndarray, " part"], strata: Sequence[Stratum], sizes: Float[np.ndarray, " part"]
) -> list[Stratum]:
    """Return the strata of ``arrange_parts`` with the sizes of their parts.

    Args:
        order: ``(part,)`` parts stratum by stratum.
        strata: from ``arrange_parts``.
        sizes: ``(part,)`` ‖n(x) − r‖.

    Returns:
        list: the same strata, sizes filled in.

    Example:
        >>> order, strata, _ = arrange_parts(["blocks.0.mlp.act/neurons/3", "blocks.0.mlp.act/neurons/1"])
        >>> with_sizes(order, strata, np.array([0.5, 2.0]))[0].sizes.tolist()
        [2.0, 0.5]
    """
    return [replace(s, sizes=sizes[order[s.first : s.first + len(s.sizes)]]) for s in strata]


def measure_moves(
    model: Model, parts: Sequence[Part], cases: Cases, baseline: Baseline, *, turn: Turn = nullcontext
) -> tuple[Float[np.ndarray, " part"], Float[np.ndarray, " part"]]:
    """Measure the mean over cases of ‖n(x) − r‖ and of ‖n(x)‖ of every part; n is an edge's source.

    Without a position the norms are summed over positions; of a channel it is the norm over all places.

    Args:
        model: the subject.
        parts: keys.
        cases: prompts.
        baseline: r.
        turn: what forward passes run in.

    Returns:
        tuple: ``(part,)`` ‖n(x) − r‖, and ``(part,)`` ‖n(x)‖, in units of the activation.

    Cost: a forward pass per case, and one per counterpart.

    Example:
        >>> from patchclamp.core.metric import Metric
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> m = Metric("logit_difference", cat.continuation("the", " sat"), cat.continuation("the", " ran"))
        >>> cases = Cases.of(cat.stimuli("the old cat"), m)
        >>> sizes, _ = measure_moves(cat, ["blocks.0.mlp.act/neurons/7"], cases, Baseline("zero"))
        >>> sizes.round(1).tolist()
        [3.0]
    """
    keys = [part if isinstance(part, str) else part[0] for part in parts]
    names = list(dict.fromkeys(keys))
    places, units = read_parts(names)
    members: dict[tuple[str, str], list[int]] = {}
    for i, place in enumerate(places):
        members.setdefault((place.site, place.basis), []).append(i)
    at = np.array([-1 if place.position is None else place.position for place in places])
    sums = np.zeros((2, len(names)))
    paths = list(dict.fromkeys(site for site, _ in members))
    for some in cases.batches(AT_ONCE):
        own = [cases.shown[int(i)] for i in some]
        with turn():
            here = model.run(own, record=paths, logits=False).recording
            there = baseline.rows(model, paths, some, len(own[0]))
        for (site, basis), listed in members.items():
            x = here[site].unflatten(0, (len(own), -1))
            other = None if baseline.kind == "zero" else there[site].expand_as(x)
            for row, values in zip(sums, _norms(model, site, basis, x, other), strict=True):
                summed = np.concatenate(
                    [values, values.sum(0, keepdims=True)]
                )  # (position + 1, unit): −1 is everywhere
                is_there = at[listed] < len(values)
                row[listed] += np.where(is_there, summed[np.where(is_there, at[listed], 0), units[listed]], 0.0)
    numbers = {name: i for i, name in enumerate(names)}
    sizes, loudness = sums[:, [numbers[key] for key in keys]] / len(cases)
    return sizes, loudness


def _norms(
    model: Model,
    path: str,
    basis: str,
    x: Float[Tensor, "case position width"],
    other: Float[Tensor, "case position width"] | None,
) -> list[Float[np.ndarray, "position unit"]]:
    """Return Σ over cases of ‖n(x) − r‖ and of ‖n(x)‖ of every unit at a site; r is zero where none is given."""
    known = model.basis_at(path, basis)
    if known.kind == "directions":
        f = encode(known, x.flatten(0, 1))
        moved = f if other is None else f - encode(known, other.flatten(0, 1))
        norms = [upcast(v).double().abs().unflatten(0, x.shape[:2]) for v in (moved, f)]
    else:
        n_units = {"heads": model.site(path).n_heads, "whole": 1}.get(basis, x.shape[-1])
        pairs = [upcast(v).double() for v in (x if other is None else x - other, x)]
        axes = (1, 3) if basis == "channels" else (3,)
        norms = [torch.linalg.vector_norm(v.unflatten(-1, (n_units, -1)), dim=axes) for v in pairs]
        norms = [v[:, None] if basis == "channels" else v for v in norms]
    return [v.sum(0).cpu().numpy() for v in norms]
