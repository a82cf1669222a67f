"""For every unit some stimuli that show what it does, in columns, so that a million units stay arrays."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
from jaxtyping import Bool, Float, Int

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.bundle import Bundle
from patchclamp.core.checks import one_of
from patchclamp.core.disk import hold_folder
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import finite
from patchclamp.core.json_text import read_word
from patchclamp.core.noun_folder import load_noun
from patchclamp.core.plain_names import name_site
from patchclamp.core.provenance import Provenance
from patchclamp.core.site import Site
from patchclamp.core.stimulus import PackedStimuli, Shown, runs
from patchclamp.core.table import Table, Tabular

FOLDER = "exemplars"
KINDS = ("top", "quantile", "random", "interval", "generated", "silent", "neighbour", "near")
"""How an exemplar was chosen: among the highest; at a quantile of a sample; from that sample, whatever the value; with
its highest value in an interval; or made for the unit, in no corpus. In the last three the unit does not fire: drawn at
random; one in which a unit fires that often fires with it; one that resembles those with its highest values."""
ACTIVE = ("top", "quantile", "random")
"""Kinds in which evidence shows the unit firing."""
NEGATIVE = ("silent", "neighbour", "near")
"""Kinds in which evidence shows it silent."""
COLUMNS = ("unit", "kind", "value", "position", "stimulus")
OPTIONAL = ("marks", "mark_offsets", "activations")


@dataclass(frozen=True)
class Exemplar:
    """One row of ``Exemplars``, for reading.

    Args:
        unit: the unit's number at its site.
        kind: one of ``KINDS``.
        value: the unit's activation at ``position``.
        stimulus: number of the stimulus in its corpus; -1 of one that was generated.
        position: logical position in it.
        ids: token ids of the whole stimulus; empty of an image.
        image: the image's name, such as ``digits:17``; empty of text.
        place: ``(y, x)`` of the position on a map, ``(position,)`` elsewhere.
    """

    unit: int
    kind: str
    value: float
    stimulus: int
    position: int
    ids: tuple[int, ...]
    image: str = ""
    place: tuple[int, ...] = ()


@checked
@dataclass(frozen=True, eq=False, repr=False)
class Exemplars(Tabular):
    """Hold stimuli for the units of a site, one row per exemplar, sorted by unit.

    Args:
        site: where the units are.
        unit: ``(row,)`` the unit's number, never falling.
        kind: ``(row,)`` place in ``KINDS``.
        value: ``(row,)`` the unit's activation at ``position``.
        position: ``(row,)`` where in the stimulus, of an image the place at the site.
        stimulus: ``(row,)`` place in ``stimuli``.
        stimuli: what is shown, each stimulus once.
        marks: ``(mark,)`` the positions that belong to each row's mask, row after row; None where each mask is its
            ``position`` alone.
        mark_offsets: ``(row + 1,)`` where each row's marks begin among all; given with ``marks``.
        basis: what the units are of: ``neurons``, or the name of a basis.
        provenance: what found or made them.
        activations: ``(token,)`` the unit's activation at each position of each row's stimulus, row after row; None
            where only ``value`` is known.

    Raises:
        PatchclampError: columns of different lengths, units out of order, or a place that is not there.

    Example:
        >>> from patchclamp.core.stimulus import Stimulus
        >>> shown = [Stimulus.of(np.array([5, 6, 7])), Stimulus.of(np.array([8, 9]))]
        >>> some = Exemplars.of(Site("embed", "embed", 4), shown, unit=[0, 2], value=[1.5, 0.5], position=[2, 0])
        >>> some[0].ids, some.mask(0).tolist(), len(some.of_unit(1))
        ((5, 6, 7), [False, False, True], 0)
    """

    site: Site
    unit: Int[np.ndarray, " row"]
    kind: Int[np.ndarray, " row"]
    value: Float[np.ndarray, " row"]
    position: Int[np.ndarray, " row"]
    stimulus: Int[np.ndarray, " row"]
    stimuli: PackedStimuli
    marks: Int[np.ndarray, " mark"] | None = None
    mark_offsets: Int[np.ndarray, " cut"] | None = None
    basis: str = "neurons"
    provenance: Provenance = field(default_factory=Provenance)
    activations: Float[np.ndarray, " token"] | None = None

    def __post_init__(self) -> None:
        wrong = self._flaw()
        if wrong:
            raise PatchclampError(
                expected=f"columns of one length, units of {self.site.path} in order, and places that are there",
                got=wrong,
                remedy="Give one value per exemplar; Exemplars.of sorts them.",
            )

    def _flaw(self) -> str:
        """Return the first thing that does not fit; nothing where all does."""
        lengths = {name: len(getattr(self, name)) for name in COLUMNS}
        if len(set(lengths.values())) > 1:
            return ", ".join(f"{n:,} of {name}" for name, n in lengths.items())
        if (self.marks is None) != (self.mark_offsets is None):
            return "marks without mark_offsets" if self.mark_offsets is None else "mark_offsets without marks"
        bounds = {"unit": self.site.width, "kind": len(KINDS), "stimulus": len(self.stimuli)}
        for name, bound in bounds.items():
            column = getattr(self, name)
            if len(column) and not 0 <= column.min() <= column.max() < bound:
                return f"a {name} outside 0 to {bound - 1}"
        if (np.diff(self.unit) < 0).any():
            return "units out of order"
        long = self.lengths
        if self.activations is not None and len(self.activations) != long.sum():
            return f"{len(self.activations):,} activations for {long.sum():,} positions"
        if ((self.position < 0) | (self.position >= long)).any():
            return "a position past its stimulus' end"
        if self.marks is not None and self.mark_offsets is not None:
            counts, cuts = np.diff(self.mark_offsets), self.mark_offsets
            if len(counts) != len(self) or (counts < 0).any() or cuts[0] != 0 or cuts[-1] != len(self.marks):
                return "mark_offsets that do not part the marks"
            if ((self.marks < 0) | (self.marks >= np.repeat(long, counts))).any():
                return "a mark past its stimulus' end"
        return ""

    @classmethod
    def of(
        cls,
        site: Site,
        shown: Sequence[Shown],
        *,
        unit: Sequence[int],
        value: Sequence[float],
        position: Sequence[int],
        kind: str = "generated",
        stimulus: Sequence[int] | None = None,
        numbers: Sequence[int] | None = None,
        activations: Sequence[np.ndarray] | None = None,
        **more: Any,
    ) -> "Exemplars":
        """Return exemplars from stimuli in memory, sorted by unit.

        Args:
            site: where the units are.
            shown: the stimuli.
            unit: the unit of each exemplar.
            value: its activation.
            position: where in the stimulus.
            kind: one of ``KINDS``, of all of them.
            stimulus: place in ``shown`` of each exemplar; one stimulus each by default.
            numbers: of the stimuli in their corpus; none by default, as of generated ones.
            activations: of each exemplar the activation at every position of its stimulus; not known by default.
            more: basis and provenance.

        Returns:
            Exemplars: sorted by unit; those of one unit in the order given.

        Example:
            >>> from patchclamp.core.stimulus import Stimulus
            >>> shown = [Stimulus.of(np.array([3, 4])), Stimulus.of(np.array([5]))]
            >>> some = Exemplars.of(Site("embed", "embed", 4), shown, unit=[2, 0], value=[1.5, 0.5], position=[1, 0])
            >>> some.unit.tolist(), some.value.tolist()
            ([0, 2], [0.5, 1.5])
        """
        one_of("kind", kind, KINDS)
        columns: dict[str, Any] = {
            "unit": np.asarray(unit, dtype=np.int32),
            "kind": np.full(len(unit), KINDS.index(kind), dtype=np.int8),
            "value": np.asarray(value, dtype=np.float32),
            "position": np.asarray(position, dtype=np.int32),
            "stimulus": np.arange(len(unit), dtype=np.int32) if stimulus is None else np.asarray(stimulus, np.int32),
        }
        if len({len(column) for column in columns.values()}) == 1:  # others are refused below
            by = np.argsort(columns["unit"], kind="stable")
            columns = {name: column[by] for name, column in columns.items()}
            if activations is not None and len(activations) == len(by):
                activations = [activations[row] for row in by]
        if activations is not None:
            parts = [np.zeros(0, dtype=np.float32), *(np.asarray(one, dtype=np.float32) for one in activations)]
            more["activations"] = np.concatenate(parts)
        return cls(site, stimuli=PackedStimuli.of(shown, numbers), **columns, **more)

    def __len__(self) -> int:
        return len(self.unit)

    @overload
    def __getitem__(self, row: int) -> Exemplar: ...
    @overload
    def __getitem__(self, row: slice) -> "Exemplars": ...
    def __getitem__(self, row: int | slice) -> "Exemplar | Exemplars":
        if isinstance(row, slice):
            return self.take(row)
        at = range(len(self))[row]
        shown, position = self.stimuli[int(self.stimulus[at])], int(self.position[at])
        ids, name = self.stimuli.kind.label(shown)
        return Exemplar(
            int(self.unit[at]),
            KINDS[self.kind[at]],
            float(self.value[at]),
            int(self.stimuli.numbers[self.stimulus[at]]),
            position,
            ids,
            name,
            self.site.place(position),
        )

    def __iter__(self) -> Iterator[Exemplar]:
        return map(self.__getitem__, range(len(self)))

    @property
    def lengths(self) -> Int[np.ndarray, " row"]:
        """Positions of each row's stimulus; of an image the places of the site."""
        if self.site.places:
            return np.full(len(self), self.site.n_places)
        return self.stimuli.lengths_of(self.stimulus)

    @cached_property
    def _starts(self) -> Int[np.ndarray, " cut"]:
        """Where each row's activations begin, and where the last one's end."""
        return np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int64)

    @property
    def units(self) -> Int[np.ndarray, " unit"]:
        """The units that have any."""
        return np.unique(self.unit)

    @cached_property
    def hash(self) -> str:
        """SHA-256 over the rows and what they show.

        Cost: one pass over the columns.
        """
        digest, whole = hashlib.sha256(f"{self.site.path} {self.basis}".encode()), self.compact()
        for name, array in sorted({**whole._columns(), **whole.stimuli.arrays}.items()):
            digest.update(f"{name}{array.shape}{array.dtype}".encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def mask(self, row: int) -> Bool[np.ndarray, " position"]:
        """Return which positions of a row's stimulus belong to it: those that are marked, else its own."""
        at = range(len(self))[row]
        mask = np.zeros(int(self.lengths[at]), dtype=bool)
        if self.marks is None or self.mark_offsets is None:
            mask[self.position[at]] = True
        else:
            mask[self.marks[self.mark_offsets[at] : self.mark_offsets[at + 1]]] = True
        return mask

    def row_activations(self, row: int) -> Float[np.ndarray, " position"]:
        """Return the unit's activation at each position of a row's stimulus.

        Raises:
            PatchclampError: the exemplars keep only the value at each row's own position.
        """
        if self.activations is None:
            raise PatchclampError(
                expected="exemplars with the activation at every position",
                got=f"exemplars of {self.site.path} with one value each",
                remedy="describe.draw_evidence draws exemplars that have them.",
            )
        at = range(len(self))[row]
        return self.activations[self._starts[at] : self._starts[at + 1]]

    def take(self, rows: np.ndarray | slice) -> "Exemplars":
        """Return some rows, which must stay in order; the stimuli are shared."""
        columns: dict[str, Any] = {name: getattr(self, name)[rows] for name in COLUMNS}
        taken = np.arange(len(self))[rows]
        if self.marks is not None and self.mark_offsets is not None:
            kept, cuts = runs(self.mark_offsets, taken)
            columns.update(marks=self.marks[kept], mark_offsets=cuts)
        if self.activations is not None:
            columns["activations"] = self.activations[runs(self._starts, taken)[0]]
        return replace(self, **columns)

    def compact(self) -> "Exemplars":
        """Return the same rows without the stimuli that none of them shows."""
        used, stimulus = np.unique(self.stimulus, return_inverse=True)
        return replace(self, stimulus=stimulus.astype(self.stimulus.dtype), stimuli=self.stimuli.take(used))

    def of_unit(self, unit: Natural) -> "Exemplars":
        """Return one unit's rows; none where it has none.

        Cost: two searches in the column of units; marks and activations are copied, the rest is not.
        """
        return self.take(slice(*np.searchsorted(self.unit, [unit, unit + 1]).tolist()))

    def of_kinds(self, *kinds: str) -> "Exemplars":
        """Return the rows of some kinds.

        Raises:
            PatchclampError: a kind that there is not.
        """
        strange = [kind for kind in kinds if kind not in KINDS]
        if strange:
            raise PatchclampError(
                expected=f"kinds among {', '.join(KINDS)}", got=strange[0], remedy="Choose among these."
            )
        return self.take(np.flatnonzero(np.isin(self.kind, [KINDS.index(kind) for kind in kinds])))

    def split(self, seed: Natural = 0, *, test: float = 0.5) -> tuple["Exemplars", "Exemplars"]:
        """Return the rows for training and those for testing; no content is on both sides.

        A stimulus' side follows from its content and the seed alone: what is shown twice, at two places of a corpus or
        for two units or sites, is on one side everywhere.

        Args:
            seed: of the draw.
            test: share of the stimuli that are for testing, on average.

        Raises:
            PatchclampError: a share outside 0 to 1.

        Cost: one hash per stimulus.
        """
        if not 0 <= test <= 1:
            raise PatchclampError(expected="a share of tests from 0 to 1", got=str(test), remedy="For example 0.5.")
        tested = (self.stimuli.draw(seed) < test)[self.stimulus]
        return self.take(np.flatnonzero(~tested)), self.take(np.flatnonzero(tested))

    def table(self, top: int | None = None) -> Table:
        """Return the exemplars as a table: unit, kind, value, stimulus, position, and the image where it is one."""
        title = f"{len(self):,} exemplars of {len(self.units):,} units of {name_site(self.site.path, self.basis)}"
        some = self if top is None else self[:top]
        rows = ((one.unit, one.kind, one.value, one.stimulus, one.position, one.image or None) for one in some)
        return Table(title, ("unit", "kind", "value", "stimulus", "position", "image"), tuple(rows), len(self))

    def to_json(self, limit: Natural = 20) -> dict[str, Any]:
        """Return the first ``limit`` exemplars and how many there are, as JSON-ready data."""
        counts = np.bincount(self.kind, minlength=len(KINDS)).tolist()
        return {
            "site": self.site.path,
            "basis": self.basis,
            "n": len(self),
            "units": len(self.units),
            "stimuli": len(np.unique(self.stimulus)),
            "kinds": {kind: n for kind, n in zip(KINDS, counts, strict=True) if n},
            "exemplars": [
                {
                    "unit": one.unit,
                    "kind": one.kind,
                    "value": finite(one.value),
                    "stimulus": one.stimulus,
                    "position": one.position,
                    "place": list(one.place),
                    "ids": list(one.ids),
                    "image": one.image,
                    "mask": np.flatnonzero(self.mask(row)).tolist(),
                    **({} if self.activations is None else {"activations": self._finite_row(row)}),
                }
                for row, one in zip(range(limit), self, strict=False)
            ],
            "provenance": self.provenance.to_json(),
        }

    def _finite_row(self, row: int) -> list[float | None]:
        return [finite(value) for value in self.row_activations(row).tolist()]

    def save(self, folder: str | Path) -> None:
        """Write the exemplars to a new or empty folder, whole or not at all; stimuli that no row shows are left out.

        Raises:
            PatchclampError: the folder holds something, or cannot be written.
        """
        whole = self.compact()
        manifest = {
            "sites": [self.site.to_json()],
            "basis": self.basis,
            "kinds": list(KINDS),
            "provenance": self.provenance.to_json(),
        }
        with hold_folder(folder):
            bundle = Bundle.create(folder, kind=FOLDER, manifest=manifest)
            bundle.append("exemplars", whole._columns())
            bundle.append("contexts", {**whole.stimuli.arrays, "stimulus": whole.stimuli.numbers})
            bundle.finish()

    @classmethod
    def load(cls, folder: str | Path) -> "Exemplars":
        """Read a folder that ``save`` wrote, and check that it is what was written.

        Raises:
            PatchclampError: no exemplars there.
            Damaged: a part is missing or changed.
        """
        return load_noun(folder, FOLDER, cls._of)

    @classmethod
    def _of(cls, bundle: Bundle) -> "Exemplars":
        said, columns = bundle.manifest, bundle.read("exemplars")
        if said["kinds"] != list(KINDS) or set(columns) - {field.name for field in fields(cls)}:
            raise ValueError("kinds or columns that are not known here")
        stimuli = PackedStimuli.read(bundle.read("contexts"))
        [site] = map(Site.from_json, said["sites"])
        provenance = Provenance.from_json(said["provenance"])
        return cls(site, stimuli=stimuli, basis=read_word(said["basis"]), provenance=provenance, **columns)

    def _columns(self) -> Mapping[str, np.ndarray]:
        return {n: getattr(self, n) for n in (*COLUMNS, *OPTIONAL) if getattr(self, n) is not None}
