"""Exemplars as judges see them: the windows of text, and what a unit does in each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float, Int

from patchclamp.core.corpus import Corpus
from patchclamp.core.exemplars import ACTIVE, KINDS, NEGATIVE, Exemplars
from patchclamp.core.unit import UnitKey
from patchclamp.describe.judge import Window
from patchclamp.describe.rules_labels import read_labels
from patchclamp.subjects.protocols import Subject

NEIGHBOUR = KINDS.index("neighbour")
_ACTIVE, _NEGATIVE = ([KINDS.index(kind) for kind in kinds] for kinds in (ACTIVE, NEGATIVE))


class Named(Subject, Protocol):
    """Its tokens or classes have names."""

    def answer_name(self, index: int) -> str:
        """Return what a token or a class is called."""


class ShownWindows:
    """Give the windows of exemplars by the place of their stimulus, each made once.

    Args:
        subject: whose tokens are named.
        exemplars: of some units of a site.
        corpus: the labelled text or images that they are of; None where there are no labels.

    Raises:
        PatchclampError: a corpus that does not hold the exemplars.
    """

    def __init__(self, subject: Named, exemplars: Exemplars, corpus: Corpus | None = None) -> None:
        self.subject, self.exemplars = subject, exemplars
        self._labels = None if corpus is None else read_labels(subject, corpus, exemplars.stimuli)
        self._windows: dict[int, Window] = {}
        self._counted: dict[int, np.ndarray] = {}
        self._names: dict[int, str] = {}

    def __getitem__(self, stimulus: int) -> Window:
        if stimulus not in self._windows:
            self._windows[stimulus] = self._read(stimulus)
        return self._windows[stimulus]

    def of_rows(self, rows: Sequence[int] | Int[np.ndarray, " row"]) -> list[Window]:
        """Return the windows of some rows of the exemplars."""
        return [self[stimulus] for stimulus in self.exemplars.stimulus[rows].tolist()]

    def texts(self, stimuli: Sequence[int] | Int[np.ndarray, " stimulus"]) -> list[str]:
        """Return some stimuli as text, without special tokens."""
        return ["".join(self.kept_tokens(int(stimulus))) for stimulus in stimuli]

    def kept_tokens(self, stimulus: int) -> list[str]:
        """Return a stimulus' tokens without special ones."""
        kept = self.exemplars.stimuli[stimulus].counted.tolist()
        return [token for token, counts in zip(self[stimulus].tokens, kept, strict=True) if counts]

    def countable(self, row: int) -> Bool[np.ndarray, " token"]:
        """Return which tokens of a row's window count; special ones do not."""
        stimulus = int(self.exemplars.stimulus[row])
        if stimulus not in self._counted:
            self._counted[stimulus] = self.exemplars.stimuli[stimulus].counted
        return self._counted[stimulus]

    def activations(self, row: int) -> Float[np.ndarray, " token"]:
        """Return what the unit does at each token of a row's window; −inf where a token does not count.

        A picture is one token, at which the unit does what it does at its strongest place.
        """
        values = self.exemplars.row_activations(row)
        counted = self.countable(row)
        if len(counted) != len(values):
            return np.array([values.max()], dtype=np.float64)
        return np.where(counted, values, -np.inf)

    def marks(self, row: int) -> Bool[np.ndarray, " token"]:
        """Return what is marked in a row of the exemplars; of a picture all of it."""
        counted, mask = self.countable(row), self.exemplars.mask(row)
        return mask & counted if len(mask) == len(counted) else np.ones(len(counted), dtype=bool)

    def _read(self, stimulus: int) -> Window:
        stimuli = self.exemplars.stimuli
        ids, picture = stimuli.kind.label(stimuli[stimulus])
        tokens = (picture,) if picture or not len(ids) else tuple(map(self._name, ids))
        if self._labels is None:
            return Window(tokens)
        first = self._firsts[stimulus]
        return Window(tokens, self._labels.sets(first, first + len(tokens)))

    @cached_property
    def _firsts(self) -> list[int]:
        lengths = self.exemplars.stimuli.lengths_of(np.arange(len(self.exemplars.stimuli)))
        return np.concatenate([[0], np.cumsum(lengths)]).tolist()

    def _name(self, id: int) -> str:
        if id not in self._names:
            self._names[id] = str(self.subject.answer_name(id))
        return self._names[id]


@dataclass(frozen=True, eq=False)
class UnitRows:
    """Name the rows of the exemplars that show one unit.

    Args:
        key: of the unit, without its subject.
        active: ``(row,)`` those in which it fires, the weakest first.
        silent: ``(row,)`` those in which it does not.
    """

    key: str
    active: Int[np.ndarray, " row"]
    silent: Int[np.ndarray, " row"]

    @property
    def deciles(self) -> Int[np.ndarray, " row"]:
        """The tenth to which each active row belongs, from 0, the weakest."""
        n = len(self.active)
        return np.arange(n) * 10 // max(n, 1)

    def draw(self, seed: int) -> np.random.Generator:
        """Return random numbers of this unit's own, fresh in each call, that no other unit's rows change."""
        return np.random.default_rng([seed, *self.key.encode()])


def iterate_units(exemplars: Exemplars) -> Iterator[UnitRows]:
    """Yield the rows of every unit that has any."""
    path, _, basis = exemplars.site.path.partition("/")  # heads lie at sites of their own
    units, firsts = np.unique(exemplars.unit, return_index=True)
    cuts = [*firsts.tolist(), len(exemplars)]
    active, silent = np.isin(exemplars.kind, _ACTIVE), np.isin(exemplars.kind, _NEGATIVE)
    for unit, first, last in zip(units.tolist(), cuts[:-1], cuts[1:], strict=True):
        fires = first + np.flatnonzero(active[first:last])
        fires = fires[np.argsort(exemplars.value[fires], kind="stable")]
        yield UnitRows(
            str(UnitKey(path, unit, basis or exemplars.basis)), fires, first + np.flatnonzero(silent[first:last])
        )
