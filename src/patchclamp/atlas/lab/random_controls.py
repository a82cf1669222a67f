"""The same clamps on random units of like size."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np

from patchclamp.ablate import Turn, measure_changes
from patchclamp.atlas.lab import messages
from patchclamp.atlas.lab.clamps import basis_at, movement, on_prompt, unit_values
from patchclamp.atlas.lab.next_token import read_at, unit_of
from patchclamp.atlas.read.responses import EstimateView, TokenView
from patchclamp.attribute.features import kind_of
from patchclamp.core.controls import RandomControls, draw_controls, kind_at, strata_of
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate, finite
from patchclamp.core.intervention import Intervention, Source
from patchclamp.core.metric import Metric, name_metric
from patchclamp.core.receipt import LARGEST_ACTIVATIONS, RULE, Receipt, describe_effect
from patchclamp.core.recording import Recording
from patchclamp.core.stats import rank_of
from patchclamp.core.stimulus import Shown
from patchclamp.core.subject import Progress
from patchclamp.core.unit import UnitKey
from patchclamp.subjects.apply import upcast
from patchclamp.subjects.bases import count_units
from patchclamp.subjects.language import LanguageModel

ROWS, TOKENS = 32, 2048
"""Rows of one forward pass, and tokens of all of them: so long is whoever else asks kept waiting."""


def compare(
    model: LanguageModel,
    prompt: Any,
    changes: Sequence[Intervention],
    *,
    target: int,
    n_sets: int = 99,
    seed: int = 0,
    measured: float | None = None,
    spell: Callable[[int], TokenView] | None = None,
    turn: Turn = nullcontext,
    progress: Progress | None = None,
) -> messages.Control:
    r"""Clamp random units instead, and measure log P(target) with them − without.

    For each clamped unit another of its site, drawn from its decile of ‖f′ − f‖ over the clamped positions: of how far
    the very same change moves it. No clamped unit is drawn, and none twice in a set. Where a site has few units, heads
    above all, those of the same kind in other blocks serve too.

    Args:
        model: the subject.
        prompt: the text, or its stimulus.
        changes: the clamps, each of one unit; what waits for generated steps is left out.
        target: the token.
        n_sets: random sets, at most: no two are the same, and small sites have few.
        seed: of their draw.
        measured: the clamps' own effect, where it is known.
        spell: token id to how it is shown.
        turn: what a forward pass runs in.
        progress: called with sets done and in all.

    Returns:
        messages.Control: the measured effect, that of every set, and how they compare.

    Raises:
        PatchclampError: nothing is clamped in the prompt, or nothing else is left at the sites to compare with.

    Source: ours: controls matched by site and by how far the clamp moves them.

    Cost: two forward passes and ``n_sets`` rows of restarted ones.

    Example:
        >>> from patchclamp.core.intervention import clamp
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> off = clamp("blocks.0.mlp.act/neurons/7=0")
        >>> found = compare(cat, "the old cat", [off], target=cat.continuation("the old cat", " sat")[0])
        >>> round(found.measured, 1), abs(found.mean.value) < 0.1
        (-4.0, True)
    """
    [stimulus] = model.stimuli(prompt)
    now = [own for change in changes if (own := on_prompt(change)) is not None]
    if not now:
        raise PatchclampError(expected="clamps that act on the prompt", got="none", remedy="Clamp a unit there.")
    metric = Metric("log_probability", (target,), positions=(read_at(model, stimulus),))
    places = _comparable_sites(model, now, n_sets)
    sites = list(dict.fromkeys(site for site, _ in places))
    held = [change.source.values for change in now if change.source is not None]
    others = next((one.stimuli for one in held if isinstance(one, Recording)), None)
    other = None
    with turn():
        run = model.run(stimulus, record=sites, logits=metric.positions)
        if others is not None:
            other = model.run(list(others), record=sites, logits=False).recording
    metric_clean = float(metric(upcast(run.logits).double())[0])
    sets, rival, controls = _draw_clamps(model, run.recording, now, n_sets, seed, places, other)
    cells = [*sets, rival] if measured is not None else [now, *sets, rival]
    rows = rows_of_turn(stimulus)
    values = measure_changes(model, stimulus, metric, cells, batch_size=rows, turn=turn, progress=progress)
    effects = values - metric_clean
    if measured is None:
        measured, effects = float(effects[0]), effects[1:]
    effects, loudest = effects[:-1], float(effects[-1])
    controls = controls.measure(effects)
    # A set that breaks the model is at least as strong as anything.
    p = 1.0 if np.isnan(measured) else rank_of(measured, np.nan_to_num(effects, nan=np.inf))
    # No sign was predicted: the claim is that these clamps move it, either way.
    receipt = Receipt(
        "these clamps move the answer",
        tuple(dict.fromkeys(str(UnitKey(*_place_of(change))) for change in now)),
        measured,
        Estimate(measured, None, 1, "nats"),
        controls,
        {LARGEST_ACTIVATIONS: loudest},
        describe_effect(
            f"with {'these clamps' if len(changes) > 1 else 'this clamp'}",
            name_metric("log_probability", repr(model.answer_name(target))),
            metric_clean,
            -measured,
            metric.unit,
        ),
    )
    return messages.Control(
        target=spell(target) if spell else TokenView(target, model.answer_name(target), False),
        measured=finite(measured),
        randoms=[finite(x) for x in effects],
        mean=EstimateView.of(controls.estimate("nats")),
        p=p,
        other_decile=controls.outside,
        drawn=controls.rule,
        seed=seed,
        grade=receipt.verdict,
        sentence=receipt.sentence,
        rule=RULE,
    )


def count_sets(model: LanguageModel, now: Sequence[Intervention], most: int) -> int:
    """Return how many different random sets ``compare`` can draw for some clamps, at most ``most``.

    Args:
        model: the subject.
        now: the clamps, each of one unit.
        most: as many as are wanted.

    Returns:
        int: 0 where nothing is left to draw.
    """
    chosen = Counter(kind_at(site, basis) for site, basis, _ in dict.fromkeys(map(unit_of, now)))
    total: Counter[str] = Counter()
    for site, basis in _comparable_sites(model, now, most):
        found = basis_at(model, site, basis)
        assert found is not None
        total[kind_at(site, basis)] += count_units(found, model.site(site))
    return min(most, math.prod(math.comb(max(total[kind] - n, 0), n) for kind, n in chosen.items()))


def rows_of_turn(stimulus: Shown) -> int:
    """Return how many rows of a prompt run in one turn."""
    return max(1, min(ROWS, TOKENS // len(stimulus)))


def _place_of(change: Intervention) -> tuple[str, int, str]:
    """Return site, unit and basis of a clamp, in the order of a key."""
    site, basis, index = unit_of(change)
    return site, index, basis


def _comparable_sites(model: LanguageModel, now: Sequence[Intervention], n_sets: int) -> list[tuple[str, str]]:
    """Return where random units are drawn, with their basis: the clamps' sites, and others of their kind if need be."""
    own = list(dict.fromkeys(unit_of(change)[:2] for change in now))
    few = []
    for site, basis in own:
        found = basis_at(model, site, basis)
        assert found is not None
        if count_units(found, model.site(site)) < n_sets + len(now):
            few.append(kind_at(site, basis))
    more = [
        (site.path, basis)
        for basis in dict.fromkeys(basis for _, basis in own)
        for site in model.sites()
        if kind_at(site.path, basis) in few and site.writable and (site.path, basis) not in own
    ]
    return [*own, *((site, basis) for site, basis in more if basis_at(model, site, basis) is not None)]


def _draw_clamps(
    model: LanguageModel,
    recording: Recording,
    now: Sequence[Intervention],
    n_sets: int,
    seed: int,
    sites: Sequence[tuple[str, str]],
    other: Recording | None = None,
) -> tuple[list[list[Intervention]], list[Intervention], RandomControls]:
    """Return the clamps of every random set, those of other units of largest activation, and how sets were matched."""
    own: dict[UnitKey, list[Intervention]] = {}
    for change in now:
        site, basis, index = unit_of(change)
        own.setdefault(UnitKey(site, index, basis), []).append(change)
    values = {at: unit_values(model, *at, recording[at[0]]) for at in sites}
    there = {at: None if other is None else unit_values(model, *at, other[at[0]]) for at in sites}
    # Sets come in the order of sites among the chosen: that of the clamps follows it.
    chosen = [key for at in sites for key in own if (key.site, key.basis) == at]
    # NaN compares with nothing: such a unit counts as moved farthest.
    moved = {
        key: np.nan_to_num(movement(model, values[at], own[key], there[at]), nan=np.inf, posinf=np.inf)
        for key in chosen
        for at in [(key.site, key.basis)]
    }
    # One stratum a site. What is like a unit depends on how it was clamped, so that each has sizes of its own.
    farthest = [
        np.max(
            [moved[key] for key in chosen if (key.site, key.basis) == at] or np.ones((1, values[at].shape[1])), axis=0
        )
        for at in sites
    ]
    blocks = [(*at, None, values[at].shape[1]) for at in sites]
    units = [(*at, i) for at in sites for i in range(values[at].shape[1])]
    sizes = {units.index((key.site, key.basis, key.index)): x for key, x in moved.items()}
    strata = strata_of(blocks, np.concatenate(farthest), {basis: kind_of(basis) == "feature" for _, basis in sites})
    controls = draw_controls(strata, list(sizes), n_sets, seed=seed, sizes=sizes)
    if controls.size < len(chosen):
        raise PatchclampError(
            expected="as many other units as clamped ones, of each of their kinds",
            got=f"{controls.size} beside {len(chosen)}",
            remedy="Clamp fewer units, or ask for no random sets.",
        )
    taken = [units.index((key.site, key.basis, key.index)) for key in chosen]
    # Of a head its norm; (position, unit, block) → (unit,)
    largest = np.concatenate(
        [np.linalg.norm(np.nan_to_num(values[at], nan=np.inf), axis=-1).max(axis=0) for at in sites]
    )
    largest[taken] = -1.0
    loudest = []
    for place in taken:
        kind = kind_at(*units[place][:2])
        same = [i for i, unit in enumerate(units) if kind_at(*unit[:2]) == kind and largest[i] >= 0]
        same = [i for i in same if units[i][:2] == units[place][:2]] or same
        loudest.append(max(same, key=lambda i: largest[i]))
        largest[loudest[-1]] = -1.0

    def clamp(places: Sequence[int]) -> list[Intervention]:
        return [
            replace(
                change,
                site=units[place][0],
                units=(units[place][2],),
                source=None if change.source is None or other is None else Source(other),
            )
            for key, place in zip(chosen, places, strict=True)
            for change in own[key]
        ]

    return [clamp(one) for one in controls.sets], clamp(loudest), controls
