"""Requested clamps as interventions, and what those do to the units' values."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from patchclamp.atlas.lab import messages
from patchclamp.atlas.read.reader import NotFound, Reading
from patchclamp.attribute.nodes import by_unit
from patchclamp.core.basis import Basis
from patchclamp.core.errors import CannotIntervene, PatchclampError
from patchclamp.core.estimate import finite
from patchclamp.core.intervention import Intervention, Source, spans
from patchclamp.core.recording import Recording
from patchclamp.core.unit import UnitKey
from patchclamp.subjects.apply import Edit, TokenPositions, upcast
from patchclamp.subjects.bases import Units, count_units, encode, unit_activations
from patchclamp.subjects.language import LanguageModel

WITH_VALUE = ("set", "add", "scale")
"""Modes of a clamp that take a number."""


def check_clamps(
    model: LanguageModel, atlas: Reading, asked: Sequence[messages.ClampAsked], n: int, other: int | None
) -> list[str]:
    """Check clamps before anything is run.

    Args:
        model: the subject.
        atlas: its atlas.
        asked: the clamps.
        n: tokens of the prompt.
        other: tokens of the other prompt; None without one.

    Returns:
        list[str]: the key of every clamp that is not neutral.

    Raises:
        NotFound: the model has no such unit.
        PatchclampError: a place in the key, positions that are none, or values of another prompt that does not go
            with this one.
        CannotIntervene: the unit can only be read.
    """
    keys = []
    for clamp in asked:
        key, at = known_unit(model, atlas, clamp.key), spans(clamp.at) if clamp.at.strip() else None
        if clamp.mode == "patch" and (other != n or any(span.steps for span in at or ())):
            got = "generated tokens" if other == n else "no other prompt" if other is None else f"one of {other} tokens"
            raise PatchclampError(
                expected=f"another prompt of {n} tokens, whose values are put in at its positions",
                got=got,
                remedy="Write the other prompt with as many tokens as this one, and clamp positions of the prompt.",
            )
        if not is_neutral(clamp):
            keys.append(str(key))
    return keys


def interventions(
    model: LanguageModel, atlas: Reading, asked: Sequence[messages.ClampAsked], other: Recording | None = None
) -> list[tuple[str, Intervention]]:
    """Return the interventions that clamps mean, each with its unit's key; neutral ones are left out.

    Args:
        model: the subject.
        atlas: its atlas.
        asked: the clamps, which ``check_clamps`` has seen.
        other: the other prompt's run at the sites of those that take its values.

    Returns:
        list[tuple[str, Intervention]]: key and intervention, in the order asked.

    Raises:
        NotFound: the model has no such unit.
        PatchclampError: see ``check_clamps``.
    """
    listed = []
    for clamp in asked:
        key, at = known_unit(model, atlas, clamp.key), spans(clamp.at) if clamp.at.strip() else None
        if is_neutral(clamp):
            continue
        how: dict[str, Any] = {"value": clamp.value if clamp.mode in WITH_VALUE else None}
        if clamp.mode == "patch":
            assert other is not None
            # Without a place: at every position that both prompts have.
            how, at = {"source": Source(other)}, at or spans(f"0:{len(other.stimuli[0])}")
        listed.append((str(key), Intervention(key.site, clamp.mode, (key.index,), key.basis, at, **how)))
    return listed


def is_neutral(clamp: messages.ClampAsked) -> bool:
    """Say whether a clamp changes nothing whatever the unit does."""
    if clamp.mode not in WITH_VALUE:
        return False
    return clamp.value is None or (clamp.mode, clamp.value) in (("add", 0.0), ("scale", 1.0))


def known_unit(model: LanguageModel, atlas: Reading, text: str) -> UnitKey:
    """Return the key of a unit that can be clamped: one of the atlas, or of the model's canonical sites.

    Returns:
        UnitKey: without a position.

    Raises:
        NotFound: there is none.
        PatchclampError: the key holds a place.
        CannotIntervene: it can only be read, or not every token comes by.
    """
    try:
        key = UnitKey.parse(text)
    except PatchclampError as problem:
        raise NotFound(expected=problem.expected, got=problem.got, remedy=problem.remedy) from problem
    if key != key.without_place():
        raise PatchclampError(
            expected="a unit without a place", got=repr(text[:120]), remedy="Say in the clamp's `at` where it applies."
        )
    # Module sites are looked for by a forward pass, which a question may not cause: only the atlas' own are known.
    listed = {site.path for site in model.sites()} | {row[1] for row in atlas.sites}
    site = model.site(key.site) if key.site in listed else None
    n_units = 0
    basis = basis_at(model, key.site, key.basis)
    if site is not None and basis is not None and key.subject in (None, atlas.slug):
        if not site.width or site.ragged or not site.writable:
            raise CannotIntervene(
                expected="a site with one value per token that can be changed",
                got=site.path,
                remedy="`patchclamp info MODEL` says what can be clamped.",
            )
        if basis.reads is not None:
            raise CannotIntervene(
                expected="a feature that is read where it is written",
                got=f"{key.basis}, which reads {basis.reads} and writes {site.path}",
                remedy="Clamp neurons, or features of a coder that reads and writes one site.",
            )
        n_units = count_units(basis, site)
    if key.index >= n_units:
        raise NotFound(
            expected=f"a unit of {atlas.slug}", got=repr(text[:120]), remedy="`patchclamp info MODEL` lists the sites."
        )
    return replace(key, subject=atlas.slug)


def on_prompt(change: Intervention) -> Intervention | None:
    """Return what a change does before anything is generated; None where it waits for generated steps."""
    if change.at is None:
        return change
    at = tuple(span for span in change.at if not span.steps)
    return replace(change, at=at) if at else None


def acting_positions(model: LanguageModel, change: Intervention, n: int) -> Bool[np.ndarray, " position"]:
    """Return at which of a prompt's ``n`` positions a change acts.

    Returns:
        Bool[np.ndarray, " position"]: one per position.

    Example:
        >>> from patchclamp.core.intervention import clamp
        >>> from patchclamp.loaders import load
        >>> acting_positions(load("organism:cat"), clamp("blocks.0.mlp.act/neurons/7@1=0"), 3).tolist()
        [False, True, False]
    """
    own = on_prompt(change)
    if own is None:
        return np.zeros(n, dtype=bool)
    basis = basis_at(model, own.site, own.basis)
    assert basis is not None
    units = Units(basis, model.site(own.site), own.units)
    frame = TokenPositions(torch.arange(n)[None], torch.tensor([n]))
    where: np.ndarray = Edit(own, units, None).where(torch.Size((1, n)), frame, torch.device("cpu"))[0].numpy()
    return where


def unit_values(
    model: LanguageModel, site: str, basis: str, values: Float[Tensor, "position width"]
) -> Float[np.ndarray, "position unit block"]:
    """Return a site's values in a basis; a block of one for all but heads.

    Args:
        model: the subject.
        site: the site that the basis writes.
        basis: its name.
        values: of the site that it reads.

    Returns:
        Float[np.ndarray, "position unit block"]: f of every unit at every position; a whole site is one unit.
    """
    found_basis = basis_at(model, site, basis)
    assert found_basis is not None
    if found_basis.kind == "directions":
        return encode(found_basis, upcast(values)).cpu().double().numpy()[..., None]
    return by_unit(values, model.site(site), found_basis.kind if found_basis.kind in ("heads", "whole") else "neurons")


def basis_at(model: LanguageModel, site: str, name: str) -> Basis | None:
    """Return the basis of a name at a site; None where the model has none there.

    Returns:
        Basis | None: bound to the site.

    Example:
        >>> from patchclamp.loaders import load
        >>> basis_at(load("organism:cat"), "blocks.0.mlp.act", "neurons").name
        'neurons'
    """
    return model.bases.get(f"{site}/{name}", model.bases.get(name))


def encode_site(model: LanguageModel, site: str, basis: str) -> str:
    """Return the path of the site that units are read from: their own, but for a transcoder's.

    Returns:
        str: path of a site.

    Raises:
        PatchclampError: the basis is not attached to the model.

    Example:
        >>> from patchclamp.loaders import load
        >>> encode_site(load("organism:cat"), "blocks.0.mlp.act", "neurons")
        'blocks.0.mlp.act'
    """
    found_basis = basis_at(model, site, basis)
    if found_basis is None:
        raise PatchclampError(
            expected=f"the basis {basis} beside the model", got="a server without it", remedy="Serve with --basis DIR."
        )
    return found_basis.reads or site


def shown_values(blocks: Float[np.ndarray, "position block"]) -> list[float | None]:
    """Return a unit's values as people read them: a head's is the norm of its z."""
    return [finite(x) for x in unit_activations(blocks)]


def movement(
    model: LanguageModel,
    values: Float[np.ndarray, "position unit block"],
    changes: Sequence[Intervention],
    other: Float[np.ndarray, "position unit block"] | None = None,
) -> Float[np.ndarray, " unit"]:
    """Return ‖f′ − f‖ of every unit of a site over the prompt, were the changes its own.

    Args:
        model: the subject.
        values: f, with nothing changed.
        changes: what one unit undergoes, in order.
        other: f on the other prompt, where a change puts its values in.

    Returns:
        Float[np.ndarray, " unit"]: Euclidean over positions and block; infinite or nan where it overflows.

    Example:
        >>> from patchclamp.core.intervention import clamp
        >>> from patchclamp.loaders import load
        >>> values = np.ones((3, 16, 1))
        >>> float(movement(load("organism:cat"), values, [clamp("blocks.0.mlp.act/neurons/7@1=0")])[7])
        1.0
    """
    # A clamp may be so large that distances overflow: such a unit counts as moved farthest.
    with np.errstate(over="ignore", invalid="ignore"):
        moved = values.copy()
        for change in changes:
            here = acting_positions(model, change, len(values))
            match change.operation:
                case "add":
                    moved[here] += change.value
                case "scale":
                    moved[here] *= change.value
                case "patch":
                    assert other is not None
                    moved[here] = other[here]
                case _:
                    moved[here] = 0.0 if change.value is None else change.value
        distance: np.ndarray = np.linalg.norm((moved - values).transpose(1, 0, 2).reshape(values.shape[1], -1), axis=1)
    return distance
