"""A recorded brain in the rig. It can be read, cut and surveyed; nothing in it can be changed."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NoReturn

import numpy as np
from jaxtyping import Float, Int, Real

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.errors import CannotIntervene, PatchclampError
from patchclamp.core.recording import Recording
from patchclamp.core.site import Site, find_sites
from patchclamp.core.stimulus import Stimulus
from patchclamp.core.subject import Capabilities, Run
from patchclamp.core.table import Table, Tabular
from patchclamp.core.unit import UnitKey, slug

SITE = "recording"
UNKNOWN = "a.u."
"""The measure of values whose unit nobody stated."""
LARGEST = 1e18
"""Squares of larger values leave float32, in which surveys compute."""
_PAST = "it is a record of what happened: nothing in it can be changed any more"


@checked
@dataclass(frozen=True, eq=False, repr=False)
class NeuralRecording(Tabular):
    """Lay a recorded brain in the rig: units over time, perhaps in trials, with rate and unit of measure.

    Args:
        values: ``(trial, time, unit)``; NaN where a sample is missing.
        name: what to call it in keys.
        rate: samples per second, or None where nobody stated it: time then cannot be given in seconds.
        start: time of each trial's first sample, in seconds.
        measure: unit of measure of the values, such as ``ΔF/F``, ``counts`` or ``µV``; ``a.u.`` where unknown.
        names: one name per unit (an electrode, a cell) (default: their numbers).
        groups: sets of units by name, such as cell assemblies, counted from 0; they may overlap.
        unit_labels: ``(unit,)`` arrays by name, such as coordinates.
        trial_labels: ``(trial,)`` arrays by name, such as the direction of a movement.
        time_labels: ``(trial, time)`` arrays by name, such as a position or whether the eyes are open.

    Raises:
        PatchclampError: shapes that do not fit, values that are infinite or beyond 10¹⁸, a rate that is none.

    Cost: one pass over the values.

    Example:
        >>> brain = NeuralRecording(np.arange(12.0).reshape(1, 6, 2), name="demo", rate=2.0, measure="ΔF/F")
        >>> brain.n_units, brain.duration, str(brain.key(1))
        (2, 3.0, 'demo/recording/neurons/1')
        >>> brain.between(1.0, 2.0).values[0].tolist()
        [[4.0, 5.0], [6.0, 7.0]]
    """

    values: Real[np.ndarray, "trial time unit"] = field(repr=False)
    name: str = "recording"
    rate: float | None = None
    start: float = 0.0
    measure: str = UNKNOWN
    names: tuple[str, ...] = field(default=(), repr=False)
    groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict, repr=False)
    unit_labels: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    trial_labels: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    time_labels: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", slug(self.name))
        if self.values.ndim != 3 or not self.values.size or self.values.dtype.kind not in "biuf":
            raise PatchclampError(
                expected="values as numbers of shape (trial, time, unit), at least one of each",
                got=f"shape {self.values.shape} of {self.values.dtype}",
                remedy="Add the axes that are missing, for example values[None] for a single trial.",
            )
        if not self.names:
            object.__setattr__(self, "names", tuple(str(unit) for unit in range(self.n_units)))
        self._check_values()
        if (self.rate is not None and not (np.isfinite(self.rate) and self.rate > 0)) or not np.isfinite(self.start):
            raise PatchclampError(
                expected="a rate above 0 samples per second and a finite start",
                got=f"rate {self.rate}, start {self.start}",
                remedy="Give rate= in Hz, or leave it out where it is unknown.",
            )
        self._check_labels()

    def table(self, top: int | None = None) -> Table:
        """Return the units as a table, with the range of their samples."""
        rate = "" if self.rate is None else f" at {self.rate:g} Hz"
        title = (
            f"{self.n_units:,} units, {self.n_trials:,} trials of {self.n_samples:,} samples{rate}, in {self.measure}"
        )
        rows = tuple((name, *_range(self.values[:, :, unit])) for unit, name in enumerate(self.names[:top]))
        return Table(title, ("unit", "lowest", "mean", "highest", "missing"), rows, self.n_units, ("unit", "mean"))

    def _check_values(self) -> None:
        wild = np.abs(self.values.astype(np.float64)) > LARGEST  # false for NaN, which means missing
        if wild.any():
            _, sample, unit = (int(i) for i in np.argwhere(wild)[0])
            raise PatchclampError(
                expected="finite values up to 1e18 in size, or NaN where a sample is missing",
                got=f"{int(wild.sum())} beyond, the first in unit {self.names[unit]!r} at sample {sample}",
                remedy="Rescale the recording and state its unit with measure=, or mark these samples as NaN.",
            )

    def _check_labels(self) -> None:
        trials, samples, units = self.values.shape
        wrong = [f"{len(self.names)} names for {units} units"] if len(self.names) != units else []
        for labels, shape in (
            (self.unit_labels, (units,)),
            (self.trial_labels, (trials,)),
            (self.time_labels, (trials, samples)),
        ):
            wrong += [f"{name!r} of shape {a.shape}, not {shape}" for name, a in labels.items() if a.shape != shape]
        for name, members in self.groups.items():
            wrong += [f"unit {unit} in {name!r}, of {units} units" for unit in members if not 0 <= unit < units]
        if wrong:
            raise PatchclampError(
                expected="labels with one entry per unit, trial or sample, and groups of units counted from 0",
                got="; ".join(wrong[:3]),
                remedy="Check that the labels belong to this recording, and whether they count from 1.",
            )

    # -- what there is ------------------------------------------------------------------------------------------------

    @property
    def n_trials(self) -> int:
        """Number of trials."""
        return int(self.values.shape[0])

    @property
    def n_samples(self) -> int:
        """Number of samples of each trial."""
        return int(self.values.shape[1])

    @property
    def n_units(self) -> int:
        """Number of units: cells, electrodes or channels."""
        return int(self.values.shape[2])

    @property
    def duration(self) -> float:
        """Length of a trial in seconds, samples / rate.

        Raises:
            PatchclampError: the rate is unknown.
        """
        return self.n_samples / self._known_rate()

    @cached_property
    def times(self) -> Float[np.ndarray, " time"]:
        """``(time,)`` seconds of each sample, start + i / rate.

        Raises:
            PatchclampError: the rate is unknown.
        """
        return self.start + np.arange(self.n_samples) / self._known_rate()

    @cached_property
    def hash(self) -> str:
        """SHA-256 over values, rate, start, measure, names and labels: the content, not the file that held it."""
        digest = hashlib.sha256()
        groups = sorted((name, tuple(members)) for name, members in self.groups.items())
        digest.update(repr((self.rate, self.start, self.measure, self.names, groups)).encode())
        tables = (self.unit_labels, self.trial_labels, self.time_labels)
        arrays = [("values", self.values), *(item for table in tables for item in sorted(table.items()))]
        for name, array in arrays:
            digest.update(f"{name}{array.shape}{array.dtype.str}".encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    @property
    def capabilities(self) -> Capabilities:
        """What can be done with it: everything but change it."""
        missing = tuple((what, _PAST) for what in ("intervene", "differentiate", "generate", "attention"))
        return Capabilities(intervene=False, differentiate=False, missing=missing)

    @cached_property
    def missing(self) -> dict[int, int]:
        """How many samples each unit lacks, for units that lack some."""
        counts = np.isnan(self.values.astype(np.float64)).sum((0, 1))
        return {int(unit): int(counts[unit]) for unit in np.flatnonzero(counts)}

    @cached_property
    def constant(self) -> list[int]:
        """Units that have one value throughout, or none at all."""
        flat = self._flat()
        low = np.where(np.isnan(flat), np.inf, flat).min(0)
        high = np.where(np.isnan(flat), -np.inf, flat).max(0)
        return [int(unit) for unit in np.flatnonzero(low >= high)]

    def sites(self) -> list[Site]:
        """List its one site, ``recording``."""
        return [Site(SITE, SITE, self.n_units, axes=("trial", "time", "unit"), writable=False)]

    def key(self, unit: Natural | str) -> UnitKey:
        """Return the key of a unit, by number or name.

        Raises:
            PatchclampError: no such unit.
        """
        index = self.names.index(unit) if unit in self.names else unit
        if isinstance(index, str) or not 0 <= index < self.n_units:
            raise PatchclampError(
                expected=f"one of {self.n_units} units",
                got=repr(unit),
                remedy=f"Count from 0, or use a name: {', '.join(self.names[:8])}.",
            )
        return UnitKey(SITE, index, subject=self.name)

    # -- reading ------------------------------------------------------------------------------------------------------

    def run(
        self,
        stimuli: Natural | Sequence[Natural] | None = None,
        *,
        record: str | Sequence[str] = SITE,
        interventions: Sequence[Any] = (),
        logits: Any = False,
    ) -> Run:
        """Read trials as a Recording: a stimulus is a trial, a row is a sample, an id is a sample's number.

        Args:
            stimuli: trials, counted from 0 (default: all of them).
            record: ``recording``, or a pattern that matches it.
            interventions: none can be made.
            logits: a brain has none; not read.

        Returns:
            Run: its recording keeps the unit of measure; rate and start stand in its provenance.

        Raises:
            CannotIntervene: interventions were asked for.
            PatchclampError: no such trial or site.

        Cost: a copy of the trials asked for.

        Example:
            >>> brain = NeuralRecording(np.arange(12.0).reshape(2, 3, 2))
            >>> brain.run(1).recording.at("recording/neurons/0@2")
            np.float64(10.0)
        """
        if len(interventions):
            self.intervene(interventions)
        chosen = self._trials(range(self.n_trials) if stimuli is None else stimuli)
        sites = {site.path: site for site in find_sites(record, self.sites())} if len(record) else {}
        samples = np.arange(self.n_samples, dtype=np.int64)
        shown = tuple(Stimulus.of(trial * self.n_samples + samples) for trial in chosen)
        about = {"subject": {"slug": self.name, "hash": self.hash}, "rate": self.rate, "start": self.start}
        rows = {path: self.values[chosen].reshape(-1, self.n_units) for path in sites}
        return Run(shown, None, Recording(shown, rows, sites, about, self.measure))

    def trials(self, which: Natural | Sequence[Natural]) -> "NeuralRecording":
        """Return some trials, in the order asked.

        Raises:
            PatchclampError: no such trial.
        """
        rows = self._trials(which)
        return replace(
            self,
            values=self.values[rows],
            trial_labels={name: label[rows] for name, label in self.trial_labels.items()},
            time_labels={name: label[rows] for name, label in self.time_labels.items()},
        )

    def between(self, start: float, stop: float) -> "NeuralRecording":
        """Return the samples with start ≤ t < stop, in seconds, of every trial; adjoining cuts share no sample.

        Raises:
            PatchclampError: the rate is unknown, or no sample lies there.
        """
        first, last = (self._sample(seconds) for seconds in (start, stop))
        if first >= last or np.isnan([start, stop]).any():
            ends = f"from {self.start:g} to {self.start + self.duration:g} s"
            raise PatchclampError(
                expected=f"a stretch of a recording that lasts {ends}",
                got=f"{start:g} to {stop:g} s, which holds no sample",
                remedy="Give start before stop, in seconds.",
            )
        return replace(
            self,
            values=self.values[:, first:last],
            start=float(self.times[first]),
            time_labels={name: label[:, first:last] for name, label in self.time_labels.items()},
        )

    def when(self, sample: Natural) -> tuple[int, float]:
        """Return trial and seconds of a sample's number, as ids of stimuli and exemplars count them.

        Raises:
            PatchclampError: the rate is unknown.
        """
        trial, place = divmod(sample, self.n_samples)
        if trial >= self.n_trials:
            raise PatchclampError(
                expected=f"a sample from 0 to {self.n_trials * self.n_samples - 1}",
                got=str(sample),
                remedy="Samples count through all trials.",
            )
        return trial, self.start + place / self._known_rate()

    # -- what a brain cannot ------------------------------------------------------------------------------------------

    def intervene(self, interventions: Sequence[Any] = ()) -> NoReturn:
        """Refuse: a recorded brain cannot be clamped.

        Raises:
            CannotIntervene: always, naming what can be done instead.
        """
        raise CannotIntervene(
            expected="a subject that can be changed",
            got=f"{self.name}, a recorded brain: {_PAST}",
            remedy="Read it (run, between, trials), survey it (`patchclamp survey`), correlate its units "
            "(correlation), or clamp a network instead.",
        )

    def differentiate(self, stimuli: Any = None, *_args: Any, **_options: Any) -> NoReturn:
        """Refuse: a recording is no function that could be differentiated.

        Returns:
            NoReturn: never.

        Raises:
            CannotIntervene: always, naming what can be done instead.
        """
        self.intervene()

    def generate(self, *_args: Any, **_options: Any) -> NoReturn:
        """Refuse: a recording goes on with nothing.

        Raises:
            CannotIntervene: always, naming what can be done instead.
        """
        self.intervene()

    # -- together -----------------------------------------------------------------------------------------------------

    def correlation(self) -> Float[np.ndarray, "unit unit"]:
        """Return Pearson's r of every pair of units over all samples that both have.

        r_ij = Σ (x_i − x̄_i)(x_j − x̄_j) / √(Σ (x_i − x̄_i)² Σ (x_j − x̄_j)²), each sum and mean over samples of the pair

        Returns:
            ``(unit, unit)``; 1 on the diagonal, NaN in rows and columns of units that are constant or missing.

        Cost: once, four matrix products of (unit, sample) with (sample, unit) and memory of some copies of the values.

        Example:
            >>> x = np.arange(5.0)
            >>> NeuralRecording(np.stack([x, -x], 1)[None]).correlation().tolist()
            [[1.0, -1.0], [-1.0, 1.0]]
        """
        return self._r.copy()

    def mean_correlation(self, groups: Mapping[str, Sequence[int]] | None = None) -> float:
        """Return the mean correlation of pairs of different units: of all, or within groups, each group counting once.

        Pairs without a correlation (a constant unit) are left out, and so are groups without a pair.

        Args:
            groups: sets of units by name, such as ``recording.groups`` (default: one group of all units).

        Returns:
            The mean; NaN where there is no pair.

        Cost: as ``correlation``.
        """
        strange = [unit for members in (groups or {}).values() for unit in members if not 0 <= unit < self.n_units]
        if strange:
            raise PatchclampError(
                expected=f"groups of units from 0 to {self.n_units - 1}",
                got=f"unit {strange[0]}",
                remedy="Count from 0.",
            )
        r = self.correlation()
        of = {"all": range(self.n_units)} if groups is None else groups
        pairs = [r[np.ix_(list(m), list(m))][np.triu_indices(len(m), 1)] for m in of.values()]
        means = [known.mean() for known in (p[~np.isnan(p)] for p in pairs) if len(known)]
        return float(np.mean(means)) if means else float("nan")

    # -- inside -------------------------------------------------------------------------------------------------------

    @cached_property
    def _r(self) -> Float[np.ndarray, "unit unit"]:
        flat = self._flat()
        there = (~np.isnan(flat)).astype(np.float64)
        n_of = np.maximum(there.sum(0), 1)
        known = np.where(there > 0, flat, 0.0)
        # Centring and scaling first keeps the differences of sums below exact; r does not change.
        x = there * (known - known.sum(0) / n_of)
        size = np.abs(x).max(0)
        x /= np.where(size > 0, size, 1.0)
        n = np.maximum(there.T @ there, 1)
        sums, squares = x.T @ there, (x * x).T @ there
        covariance = x.T @ x - sums * sums.T / n
        variance = squares - sums * sums / n
        variance[variance <= 1e-12 * squares] = np.nan
        variance[self.constant] = np.nan
        r = np.clip(covariance / np.sqrt(variance * variance.T), -1.0, 1.0)
        np.fill_diagonal(r, np.where(np.isnan(np.diag(r)), np.nan, 1.0))
        return np.asarray(r)

    def _flat(self) -> Float[np.ndarray, "sample unit"]:
        return self.values.reshape(-1, self.n_units).astype(np.float64)

    def _known_rate(self) -> float:
        if self.rate is None:
            raise PatchclampError(
                expected="a recording with a sampling rate",
                got=f"{self.name}, whose file does not state one",
                remedy="Give rate= in samples per second, or duration= in seconds, when loading it.",
            )
        return self.rate

    def _sample(self, seconds: float) -> int:
        """Return the first sample at or after a time; what rounding leaves of a sample (10⁻⁶) does not count."""
        # An infinite end is the recording's own; NaN is refused by who asks.
        place = np.nan_to_num((seconds - self.start) * self._known_rate() - 1e-6, nan=0.0)
        return int(np.clip(np.ceil(place), 0, self.n_samples))

    def _trials(self, which: int | Sequence[int]) -> Int[np.ndarray, " trial"]:
        rows = np.atleast_1d(np.asarray(which, dtype=np.int64))
        if rows.size == 0 or rows.min() < 0 or rows.max() >= self.n_trials:
            raise PatchclampError(
                expected=f"trials from 0 to {self.n_trials - 1}", got=repr(which), remedy="Count trials from 0."
            )
        return rows


def _range(values: np.ndarray) -> tuple[float | None, float | None, float | None, int]:
    """Return the lowest, mean and highest of a unit's samples, and how many are missing."""
    known = values[np.isfinite(values)]
    if not known.size:
        return None, None, None, values.size
    return float(known.min()), float(known.mean()), float(known.max()), int(values.size - known.size)
