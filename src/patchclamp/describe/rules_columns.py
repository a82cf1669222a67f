"""The tokens of exemplars in columns, and on which of them each unit fires."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Float, Int

from patchclamp.core.exemplars import ACTIVE, KINDS, NEGATIVE, Exemplars
from patchclamp.core.stimulus import Role, runs
from patchclamp.describe.rules_mining import Windows
from patchclamp.subjects.protocols import Subject

INNER_SEED = 2**32
"""Added to the seed: what is kept back for picking is drawn apart from what is kept back for testing."""
FIRING = 0.3
"""Where no marks say it, a token is active if it is so far from the silent level to its window's highest activation."""


class Named(Subject, Protocol):
    """Its tokens or classes have names."""

    def answer_name(self, index: int) -> str:
        """Return what a token or a class is called."""


@dataclass(frozen=True, eq=False)
class Columns:
    """Hold all tokens of all rows of exemplars, row after row; a picture is one token.

    Args:
        token: ``(token,)`` place of its text.
        place: ``(token,)`` place among the positions of the packed stimuli.
        position: ``(token,)`` in its row.
        active: ``(token,)`` whether the row's unit fires there.
        value: ``(token,)`` its activation; −inf where a token does not count.
        starts: ``(row + 1,)`` where each row begins.
        fires: ``(row,)`` whether it shows the unit firing.
        silent: ``(row,)`` whether it shows it silent.
        draw: ``(row,)`` a number from 0 to 1 that follows from the content.
        share: of the rows that are kept back.
    """

    token: Int[np.ndarray, " token"]
    place: Int[np.ndarray, " token"]
    position: Int[np.ndarray, " token"]
    active: Bool[np.ndarray, " token"]
    value: Float[np.ndarray, " token"]
    starts: Int[np.ndarray, " cut"]
    fires: Bool[np.ndarray, " row"]
    silent: Bool[np.ndarray, " row"]
    draw: Float[np.ndarray, " row"]
    share: float

    def windows(self, first: int, last: int, labels: Bool[np.ndarray, "position concept"] | None) -> Windows | None:
        """Return the rows of one unit as windows; None where it has none in which it fires, or none in which not.

        Args:
            first: its first row.
            last: past its last row.
            labels: of the positions of the packed stimuli.

        Returns:
            Windows | None: with what is kept back for picking.
        """
        fires, silent = self.fires[first:last], self.silent[first:last]
        if not fires.any() or not silent.any():
            return None
        held = np.zeros(last - first, dtype=bool)
        for part in (np.flatnonzero(fires), np.flatnonzero(silent)):
            held[part] = keep_back(self.draw[first:last][part], self.share)
        cut = slice(self.starts[first], self.starts[last])
        window = np.repeat(np.arange(last - first), np.diff(self.starts[first : last + 1]))
        used = (fires | silent)[window]
        at = slice(None) if used.all() else used
        return Windows(
            self.token[cut][at],
            window[at],
            self.position[cut][at],
            self.active[cut][at],
            fires,
            held,
            int(np.where(fires[window], self.value[cut], -np.inf)[at].argmax()),
            None if labels is None else labels[self.place[cut][at]],
        )


def keep_back(draws: Float[np.ndarray, " row"], share: float) -> Bool[np.ndarray, " row"]:
    """Return which rows are kept back: the share with the lowest draws, one at least; none where all would be.

    What has the same content has the same draw, and so is on one side.
    """
    n = max(1, int(share * len(draws))) if share else 0
    held = draws <= np.sort(draws)[n - 1] if n else np.zeros(len(draws), dtype=bool)
    return held if not held.all() else np.zeros(len(draws), dtype=bool)


def read_columns(subject: Named, exemplars: Exemplars, seed: int, share: float) -> tuple[list[str], Columns]:
    """Return the texts of all tokens, in order, and the columns of the exemplars.

    Args:
        subject: whose tokens are named.
        exemplars: of some units of a site.
        seed: of what is kept back.
        share: of each unit's rows that are kept back.

    Returns:
        tuple: texts, and columns that name them by number.

    Cost: each distinct token is named once.
    """
    arrays, kind = exemplars.stimuli.arrays, exemplars.stimuli.kind
    starts = np.concatenate([[0], np.cumsum(exemplars.lengths)]).astype(np.int64)
    values = _values(exemplars, starts)
    if "ids" in arrays:
        place, _ = runs(arrays[kind.offsets], exemplars.stimulus)
        counted = arrays["roles"][place] == Role.TEXT if "roles" in arrays else np.ones(len(place), dtype=bool)
        texts, numbers = name_tokens(arrays["ids"], subject.answer_name)
        token = numbers[place]
    else:
        # A label is of a whole picture, so that a picture is one token, active where any place is.
        values = np.maximum.reduceat(values, starts[:-1]) if len(exemplars) else values
        place = exemplars.stimulus.astype(np.int64)
        counted, texts, token = np.ones(len(place), dtype=bool), [""], np.zeros(len(place), dtype=np.int64)
        starts = np.arange(len(exemplars) + 1)
    fires, silent = (np.isin(exemplars.kind, [KINDS.index(kind) for kind in kinds]) for kinds in (ACTIVE, NEGATIVE))
    values = np.where(counted & ~np.isnan(values), values, -np.inf)
    row = np.repeat(np.arange(len(exemplars)), np.diff(starts))
    columns = Columns(
        token,
        place,
        np.arange(len(place)) - starts[row],
        fires[row] & _active(exemplars, values, starts, silent),
        values,
        starts,
        fires,
        silent,
        exemplars.stimuli.draw(seed + INNER_SEED)[exemplars.stimulus],
        share,
    )
    return texts, columns


def _values(exemplars: Exemplars, starts: Int[np.ndarray, " cut"]) -> Float[np.ndarray, " token"]:
    """Return the activation of every token; where it is not kept, the value of the row at its own position."""
    if exemplars.activations is not None:
        return exemplars.activations.astype(np.float64)
    values = np.full(starts[-1], -np.inf)
    values[starts[:-1] + exemplars.position] = exemplars.value
    return values


def _active(
    exemplars: Exemplars, values: Float[np.ndarray, " token"], starts: np.ndarray, silent: Bool[np.ndarray, " row"]
) -> Bool[np.ndarray, " token"]:
    """Return which tokens are active: those that are marked; without marks those that reach the level of their row."""
    if exemplars.marks is not None and exemplars.mark_offsets is not None and len(values) == exemplars.lengths.sum():
        active = np.zeros(len(values), dtype=bool)
        active[exemplars.marks + np.repeat(starts[:-1], np.diff(exemplars.mark_offsets))] = True
        return active & np.isfinite(values)
    if not len(exemplars):
        return np.zeros(0, dtype=bool)
    peak = np.maximum.reduceat(values, starts[:-1])
    silence = np.full(exemplars.site.width, -np.inf)
    np.maximum.at(silence, exemplars.unit[silent], peak[silent])
    own = silence[exemplars.unit]
    above = np.where(np.isfinite(own), np.maximum(peak - own, 0), 0)
    levels = np.where(np.isfinite(peak), peak - (1 - FIRING) * above, np.inf)
    return values >= np.repeat(levels, np.diff(starts))


def name_tokens(ids: Int[np.ndarray, " token"], name: Callable[[int], str]) -> tuple[list[str], Any]:
    """Return the texts of some tokens in order, each once, and ``(token,)`` the place of each token's text."""
    distinct, inverse = np.unique(ids, return_inverse=True)
    named = [name(int(id)) for id in distinct]
    texts = sorted(set(named))
    places = {text: i for i, text in enumerate(texts)}
    return texts, np.array([places[text] for text in named], dtype=np.int64)[inverse]
