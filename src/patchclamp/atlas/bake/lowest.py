"""The stimuli in which each unit goes furthest below zero, kept during the second pass."""

import numpy as np
import torch
from torch import Tensor

LOWEST = 8
"""Stimuli kept per unit."""

Held = tuple[Tensor, Tensor, Tensor]
"""Per unit and place: the value, ``(stimulus, position, start of the strip)``, and the activations along the strip."""


def empty_lowest(width: int, strip: int) -> Held:
    """Return the state before anything was read."""
    return (
        torch.full((width, LOWEST), torch.inf),
        torch.zeros(width, LOWEST, 3, dtype=torch.int64),
        torch.full((width, LOWEST, strip), torch.nan, dtype=torch.float16),
    )


def keep_lowest(
    held: Held,
    x: Tensor,
    counted: np.ndarray,
    first_stimulus: int,
    firsts: np.ndarray,
    lengths: np.ndarray,
    before: int,
) -> None:
    """Take in one batch's ``(token, unit)`` values, in place; only what is below zero is kept.

    Args:
        held: the lowest of earlier batches.
        x: values of all tokens, special ones included.
        counted: rows that statistics count.
        first_stimulus: number of the batch's first stimulus.
        firsts: row of each stimulus' first token.
        lengths: tokens of each stimulus.
        before: tokens of a strip before its mark.
    """
    value, place, acts = held
    rows = x
    if len(counted) < len(x):
        special = torch.ones(len(x), dtype=torch.bool)
        special[torch.from_numpy(counted)] = False
        rows = x.masked_fill(special[:, None], torch.inf)
    if not torch.isfinite(x.sum()):
        rows = rows.nan_to_num(nan=torch.inf, neginf=torch.inf)
    each = [rows[a : a + n] for a, n in zip(firsts.tolist(), lengths.tolist(), strict=True)]
    low = torch.stack([one.amin(0) for one in each], 1)  # (unit, stimulus)
    units = (low < value[:, -1:].clamp(max=0)).any(1).nonzero().flatten()
    if not len(units):
        return
    at = torch.stack([one[:, units].argmin(0) for one in each], 1)  # asked of these alone: it is slow
    low = low[units].masked_fill(low[units] >= 0, torch.inf)
    # Stable: of equal values the earlier stimulus stays, whatever the batches were.
    lows, order = torch.cat([value[units], low], 1).sort(dim=1, stable=True)
    order, known = order[:, :LOWEST], len(value[0])
    stays = order.clamp(max=known - 1)
    kept_place, kept_acts = place[units[:, None], stays], acts[units[:, None], stays]
    row, slot = (order >= known).nonzero(as_tuple=True)
    stimulus = order[row, slot] - known
    marked, length, strip = at[row, stimulus], torch.from_numpy(lengths)[stimulus], acts.shape[2]
    # A strip near the end of its stimulus begins earlier, so that it is full where the stimulus is long enough.
    start = torch.minimum((marked - before).clamp(min=0), (length - strip).clamp(min=0))
    along = start[:, None] + torch.arange(strip)
    inside = torch.minimum(along, length[:, None] - 1) + torch.from_numpy(firsts)[stimulus, None]
    found = x[inside, units[row, None]].clamp(-65504, 65504).half()
    kept_place[row, slot] = torch.stack([first_stimulus + stimulus, marked, start], 1)
    kept_acts[row, slot] = found.masked_fill(along >= length[:, None], torch.nan)
    value[units], place[units], acts[units] = lows[:, :LOWEST], kept_place, kept_acts


def lowest_strips(held: Held) -> dict[str, np.ndarray]:
    """Return what was kept as columns, sorted by unit and from the lowest up."""
    value, place, acts = (t.numpy() for t in held)
    unit, rank = np.nonzero(value < 0)
    stimulus, position, start = place[unit, rank].T
    return {
        "unit": unit,
        "rank": rank,
        "value": value[unit, rank].astype(np.float64),
        "stimulus": stimulus,
        "position": position,
        "start": start,
        "acts": acts[unit, rank],
    }
