"""Units of a level, the size of each unit's change, and its activation."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from patchclamp.ablate import Baseline
from patchclamp.attribute.features import delta_from_baseline, kind_of
from patchclamp.core.controls import Stratum, strata_of
from patchclamp.core.errors import PatchclampError
from patchclamp.core.keys import Block
from patchclamp.core.recording import Recording
from patchclamp.core.scores import Scores
from patchclamp.core.site import Site
from patchclamp.subjects.apply import upcast
from patchclamp.subjects.bases import count_units, encode, unit_activations
from patchclamp.subjects.model import Model

LEVELS = ("neuron", "head", "channel", "feature", "node")
"""Levels of units: an MLP's neurons and attention heads at every position, a map's channels over all its places, the
units of the bases that were added to the model, and what writes to the residual stream: the embedding, heads, MLPs."""
_NUMBER = re.compile(r"\.\d+\.")
MOST_NAMED = 6
"""Sites that an error names."""
BYTES_PER_NODE = 48
"""Score, size and activation in double precision, the model's own value and gradient, and a sorting order."""


def level_sites(model: Model, levels: Sequence[str]) -> dict[str, str]:
    """Return the sites of levels in forward order, each with its basis.

    If a site has a basis of directions and ``feature`` is among the levels, features replace its neurons or heads: both
    describe the same activation, and side by side they would count it twice.

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
    canonical = [level for level in levels if level in LEVELS and level != "feature"]
    if canonical and "canonical sites" in dict(model.capabilities.missing) and model.stimulus_kind == "text":
        raise PatchclampError(
            expected=f"a model that a family file covers, for the level {canonical[0]}",
            got=f"{type(model.module).__name__}, with the sites of its modules alone",
            remedy=_suggest_sites(model),
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
        return f"{model.name} has {', '.join(model.levels)}; `patchclamp info MODEL` lists its sites."
    paths = [site.path for site in model.sites()]
    more = ", …" if len(paths) > MOST_NAMED else ""
    return f"Name sites of this plain network by their paths: {', '.join(paths[:MOST_NAMED])}{more}."


def _suggest_sites(model: Model) -> str:
    """Return the sites that lie in every block and are the widest, most often the neurons of its MLPs, as a remedy."""
    repeated: dict[str, list[int]] = {}
    for site in model.sites():
        repeated.setdefault(_NUMBER.sub(".*.", site.path), []).append(site.width)
    inside = {pattern: max(widths) for pattern, widths in repeated.items() if "*" in pattern}
    if not inside:
        return "Name sites by their paths: `patchclamp info MODEL` lists them."
    widest = [pattern for pattern, width in inside.items() if width == max(inside.values())]
    return (
        f"Name sites, for example --level '{widest[-1]}': `patchclamp info MODEL` lists them. "
        "docs/howto/family.md adds a family."
    )


def pattern_sites(model: Model, patterns: Sequence[str], level: str) -> dict[str, str]:
    """Return the sites that patterns name in forward order, each with the basis of a level's units there.

    A pattern may end in ``/`` and a basis. Else a node is a head where a site has heads and the whole site where it
    has none, and a neuron is a head, a map's channel or a column.

    Args:
        model: the subject.
        patterns: site paths with ``*``, each with ``/`` and a basis if it names one.
        level: ``node`` takes whole sites, every other level single units.

    Returns:
        dict: site to basis.

    Raises:
        PatchclampError: a pattern that names no site, or units that a site does not have.

    Example:
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> pattern_sites(cat, ["blocks.0.mlp.act", "blocks.0.attn.z"], "neuron")
        {'blocks.0.attn.z': 'heads', 'blocks.0.mlp.act': 'neurons'}
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
    """Return the number of units of a prompt of some length; an image has as many positions as each site has places.

    Args:
        model: the subject.
        n_positions: length of the prompt.
        levels: what is scored.

    Returns:
        int: positions times units, summed over sites.

    Example:
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> count_nodes(cat, 4, ["neuron"]), count_nodes(cat, 4, ["neuron", "head"])
        (128, 160)
    """
    sites = level_sites(model, levels)
    return sum(math.prod(shape_of(model, path, basis, n_positions)) for path, basis in sites.items())


def shape_of(model: Model, path: str, basis: str, n_positions: int) -> tuple[int, int]:
    """Return the number of positions and of units at a site; a channel is one unit over all places.

    Args:
        model: the subject.
        path: the site.
        basis: whose units are counted.
        n_positions: length of the prompt.

    Returns:
        tuple: positions and units.

    Example:
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> shape_of(cat, "blocks.0.mlp.act", "neurons", 4)
        (4, 16)
    """
    site = model.site(path)
    return (1 if basis == "channels" else site.n_places or n_positions), count_units(model.basis_at(path, basis), site)


def unit_blocks(model: Model, sites: Mapping[str, str], n_positions: int | None) -> list[Block]:
    """Return the units of sites as blocks of keys; a channel is one unit over all places.

    Args:
        model: the subject.
        sites: site to basis.
        n_positions: of the prompt; None keeps no positions apart: a unit is one key over all of them.

    Returns:
        list: a block of keys per site, in the order given.

    Example:
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> [block] = unit_blocks(cat, {"blocks.0.mlp.act": "neurons"}, 4)
        >>> block.n_units, block.n_places, block.size
        (16, 4, 64)
    """
    blocks = []
    for path, basis in sites.items():
        n_places, n_units = shape_of(model, path, basis, n_positions or 0)
        blocks.append(Block(path, basis, n_units, None if n_positions is None or basis == "channels" else n_places))
    return blocks


def by_unit(values: Any, site: Site, basis: str) -> Float[np.ndarray, "position unit block"]:
    """Reshape a site's ``(position, width)`` values to one axis of units: blocks of one for neurons.

    The block of a channel is its values at all places; it stands at one position, which means everywhere.

    Args:
        values: ``(position, width)``.
        site: the site.
        basis: ``neurons``, ``heads``, ``channels`` or ``whole``.

    Returns:
        ``(position, unit, block)`` in double precision; of channels ``(1, channel, place)``.

    Example:
        >>> import torch
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> by_unit(torch.zeros(4, 16), cat.site("blocks.0.mlp.act"), "neurons").shape
        (4, 16, 1)
    """
    if basis == "channels":
        return upcast(values).cpu().double().numpy().T[None]
    n_units = {"heads": site.n_heads, "whole": 1}.get(basis, site.width)
    return upcast(values).cpu().double().numpy().reshape(len(values), n_units, -1)


def idle_units(scores: Scores) -> Bool[np.ndarray, " node"]:
    """Return which units are features at their baseline, as most are: replacing them does nothing."""
    sizes = scores.measures["size"]
    idle = np.zeros(len(scores), dtype=bool)
    for block in scores.units.blocks:
        if kind_of(block.basis) == "feature":
            span = scores.units.span(block.site, block.basis)
            idle[span] = sizes[span] == 0
    return idle


def unit_strata(scores: Scores) -> list[Stratum]:
    """Return the strata that random controls are drawn from: units of one site and basis, of like size."""
    blocks = scores.units.blocks
    sparse = {block.basis: kind_of(block.basis) == "feature" for block in blocks}
    where = [(block.site, block.basis, block.n_places, block.n_units) for block in blocks]
    return strata_of(where, scores.measures["size"], sparse)


def distances(model: Model, path: str, basis: str, x: Any, baseline: Baseline) -> Float[np.ndarray, "position unit"]:
    """Return ‖n − r‖ of every unit at a site: how much replacing it changes the activation.

    Args:
        model: the subject.
        path: the site.
        basis: whose units.
        x: ``(position, width)`` activations n.
        baseline: r.

    Returns:
        ``(position, unit)`` in units of the activation; of channels ``(1, channel)``.

    Example:
        >>> import torch
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> x = torch.full((4, 16), -2.0)
        >>> distances(cat, "blocks.0.mlp.act", "neurons", x, Baseline("zero"))[0, :2].tolist()
        [2.0, 2.0]
    """
    if kind_of(basis) == "feature":
        return upcast(delta_from_baseline(model.basis_at(path, basis), path, x, baseline)).abs().cpu().double().numpy()
    return np.linalg.norm(by_unit(x - baseline.at(path, x), model.site(path), basis), axis=-1)


def measure_units(
    model: Model, sites: Mapping[str, str], values: Recording, baseline: Baseline
) -> dict[str, Float[np.ndarray, " node"]]:
    """Return ``size`` ‖n − r‖ and ``activation`` n of every unit, site by site, position by position.

    The activation of a head or a channel is the norm of its values; of neurons and features it has its sign.

    Args:
        model: the subject.
        sites: site to basis.
        values: activations of the run that is patched into.
        baseline: r.

    Returns:
        dict: ``size`` and ``activation``, each ``(unit,)`` over sites, positions and units, in units of the activation.
    """
    sizes, activations = [], []
    for path, basis in sites.items():
        sizes.append(distances(model, path, basis, values[path], baseline).ravel())
        if kind_of(basis) == "feature":
            f = encode(model.basis_at(path, basis), values[path])
            activations.append(upcast(f).cpu().double().numpy().ravel())
            continue
        x = by_unit(values[path], model.site(path), basis)
        activations.append(unit_activations(x).ravel())
    return {"size": np.concatenate(sizes), "activation": np.concatenate(activations)}
