"""One prompt without and with clamps: the next token, and the continuation."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from patchclamp.atlas.lab import messages
from patchclamp.atlas.lab.clamps import acting_positions, on_prompt, shown_values, unit_values
from patchclamp.atlas.read.responses import TokenView
from patchclamp.core.errors import PatchclampError
from patchclamp.core.intervention import Intervention
from patchclamp.core.stimulus import Stimulus
from patchclamp.subjects.apply import upcast
from patchclamp.subjects.generation import check_logits
from patchclamp.subjects.language import LanguageModel

Turn = Callable[[], AbstractContextManager[None]]
"""What the model is used in, so that others have theirs between."""
Ranges = dict[str, tuple[float | None, float | None]]
Unit = tuple[str, str, int]
UNCLAMPED_RUNS = 32
_SLACK = 1e-5
"""Extremes come to the browser with six digits: a slider at its end is not outside."""


@dataclass
class Unclamped:
    """What a model does with a prompt by itself.

    Args:
        logits: of the next token.
        values: of the units that were asked for, along the prompt.
        written: what it writes, as far as it was asked to.
        ended: whether it would write more.
    """

    logits: Float[Tensor, " token"]
    values: dict[Unit, list[float | None]]
    written: list[int] = field(default_factory=list)
    ended: bool = False


class UnclampedRuns:
    """The last few unclamped runs, so that a slider that is dragged costs one forward pass each time."""

    def __init__(self, most: int = UNCLAMPED_RUNS) -> None:
        self._most = most
        self._kept: OrderedDict[tuple[bytes, frozenset[Unit]], Unclamped] = OrderedDict()

    def of(self, model: LanguageModel, stimulus: Stimulus, units: Sequence[Unit], turn: Turn) -> Unclamped:
        """Return a prompt's unclamped run with the values of some units; one forward pass where it is new.

        Returns:
            Unclamped: logits, recording and values of one run.

        Raises:
            PatchclampError: the model's own logits are not finite: no clamp could be seen to change them.
        """
        name = (stimulus.ids.tobytes(), frozenset(units))
        if name not in self._kept:
            with turn():
                logits, values = next_token_logits(model, stimulus, units, ())
            check_logits(logits)
            self._kept[name] = Unclamped(logits, values)
        self._kept.move_to_end(name)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return self._kept[name]


def read_at(model: LanguageModel, stimulus: Stimulus) -> int:
    """Return where the answer is read: after the last token, at the mask that is filled in, of a picture at −1.

    Raises:
        PatchclampError: no mask where there must be one, or several.
    """
    if model.capabilities.generate:
        return len(stimulus) - 1
    if model.stimulus_kind == "images":
        return -1
    mask = model.tokenizer.bare.mask_token_id
    masks = np.flatnonzero(stimulus.ids == mask).tolist()
    if len(masks) != 1:
        raise PatchclampError(
            expected=f"a text with {model.tokenizer.bare.mask_token} once, for {model.name} fills in masks",
            got=f"{len(masks)} of them",
            remedy="Write it where the answer belongs.",
        )
    return int(masks[0])


def next_token_logits(
    model: LanguageModel, stimulus: Stimulus, units: Sequence[Unit], changes: Sequence[Intervention]
) -> tuple[Float[Tensor, " token"], dict[Unit, list[float | None]]]:
    """Return the next token's logits and some units' values along a prompt, with changes; one forward pass.

    Returns:
        tuple[Float[Tensor, " token"], dict[Unit, list[float | None]]]: logits of the whole vocabulary, and per unit a
            value per position.
    """
    sites = list(dict.fromkeys(site for site, _, _ in units))
    run = model.run(stimulus, record=sites, interventions=list(changes), logits=(read_at(model, stimulus),))
    read = {(s, b): unit_values(model, s, b, run.recording[s]) for s, b in dict.fromkeys(u[:2] for u in units)}
    values = {unit: shown_values(read[unit[:2]][:, unit[2]]) for unit in units}
    return upcast(run.logits[0, 0]).cpu().double(), values


def tabulate(
    model: LanguageModel,
    stimulus: Stimulus,
    changes: Sequence[tuple[str, Intervention]],
    unclamped: Unclamped,
    *,
    top: int,
    ranges: Ranges,
    spell: Callable[[int], TokenView],
    turn: Turn = nullcontext,
    clock: Callable[[], float] = lambda: 0.0,
) -> tuple[messages.Table, Float[Tensor, " token"]]:
    """Return the next token without and with changes, and the changed logits.

    Args:
        model: the subject.
        stimulus: the prompt.
        changes: key and intervention of every clamp.
        unclamped: the run without clamps, with the clamped units' values.
        top: how many of each side's likeliest tokens.
        ranges: key to the lowest and highest value that the atlas saw.
        spell: token id to how it is shown.
        turn: what a forward pass runs in.
        clock: seconds since the run began.

    Returns:
        tuple[messages.Table, Float[Tensor, " token"]]: the table, and logits of the whole vocabulary.

    Cost: one forward pass; none where nothing changes.
    """
    on = [own for _, change in changes if (own := on_prompt(change)) is not None]
    logits, after = unclamped.logits, unclamped.values
    if on:
        with turn():
            logits, after = next_token_logits(model, stimulus, list(unclamped.values), on)
    p, q = unclamped.logits.softmax(-1), logits.softmax(-1)
    n = min(top, len(p))
    ids = {*p.topk(n).indices.tolist(), *q.topk(n).indices.tolist()}
    # NaN, which compares with nothing, comes last.
    ordered = sorted(ids, key=lambda i: (-float(q[i].nan_to_num(-1.0)), i))
    log_p, log_q = unclamped.logits.log_softmax(-1), logits.log_softmax(-1)
    divergence = float(torch.where(p > 0, p * (log_p - log_q), torch.zeros_like(p)).sum()) if on else 0.0
    rows = []
    for i in ordered:
        token = spell(i)
        rows.append(
            messages.NextToken(
                id=i,
                text=token.text,
                bytes=token.bytes,
                unclamped=_finite(p[i]),
                changed=_finite(q[i]),
                delta=_finite(q[i] - p[i]),
                unclamped_logit=_finite(unclamped.logits[i]),
                changed_logit=_finite(logits[i]),
            )
        )
    clamped = []
    for key, change in changes:
        unit = unit_of(change)
        low, high = ranges.get(key, (None, None))
        beyond = _outside(after[unit], acting_positions(model, change, len(stimulus)), low, high)
        # What is set at generated steps only shows nowhere along the prompt.
        beyond |= change.operation == "set" and _outside([float(change.value)], np.ones(1, dtype=bool), low, high)
        clamped.append(messages.Clamped(key, unclamped.values[unit], after[unit], beyond))
    apart = max(divergence, 0.0) if np.isfinite(divergence) else None
    return messages.Table(rows, clamped, apart, not on, clock()), logits


def unit_of(change: Intervention) -> Unit:
    """Return the one unit that a clamp changes."""
    assert change.units is not None
    return change.site, change.basis, change.units[0]


def continue_both(
    model: LanguageModel,
    stimulus: Stimulus,
    changes: Sequence[Intervention],
    unclamped: Unclamped,
    *,
    new_tokens: int,
    turn: Turn = nullcontext,
) -> Iterator[tuple[int | None, int | None]]:
    """Yield step by step what is written without and with changes; None on a side that has ended.

    Yields:
        tuple[int | None, int | None]: ids of one step, without and with changes.

    Cost: a forward pass per side and step; the unclamped one only where it was not written before.
    """
    known = unclamped.written[:new_tokens]
    known_whole = len(known) == new_tokens or unclamped.ended
    bare = iter(known) if known_whole else model.steps(stimulus, max_new_tokens=new_tokens)
    clamped = model.steps(stimulus, interventions=list(changes), max_new_tokens=new_tokens) if changes else None
    written: list[int] = []
    for _ in range(new_tokens):
        if known_whole:
            left = next(bare, None)
        else:
            with turn():
                left = next(bare, None)
            if left is not None:
                written.append(left)
            if len(written) > len(unclamped.written) or left is None:
                unclamped.written, unclamped.ended = list(written), left is None
        right = left
        if clamped is not None:
            with turn():
                right = next(clamped, None)
        if left is None and right is None:
            return
        yield left, right


def _outside(values: Sequence[float | None], where: np.ndarray, low: float | None, high: float | None) -> bool:
    if low is None or high is None:
        return False
    slack = _SLACK * max(abs(low), abs(high), abs(high - low))
    acted = [value for value, here in zip(values, where, strict=True) if here]
    return any(value is None or not low - slack <= value <= high + slack for value in acted)


def _finite(x: Tensor) -> float | None:
    number = float(x)
    return number if np.isfinite(number) else None
