"""What every unit of some sites did over a text, without the activations themselves."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.errors import Damaged, PatchclampError, report_damage
from patchclamp.core.exemplars import KINDS as ALL_KINDS
from patchclamp.core.exemplars import Exemplars
from patchclamp.core.object_store import open_bundle
from patchclamp.core.plain_names import name_unit
from patchclamp.core.provenance import Provenance
from patchclamp.core.recording import RESTORE, check_shapes, kind_of, sites_of
from patchclamp.core.stimulus import PackedStimuli
from patchclamp.core.table import Table, Tabular
from patchclamp.core.unit import UnitKey

PROBABILITIES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
"""Where the survey states quantiles."""
KINDS = ALL_KINDS[:3]
"""How a survey chooses exemplars: ``top``, ``quantile``, ``random``."""


@checked
class StoredSurvey(Tabular):
    """Read a survey from its folder.

    Args:
        path: the folder that ``patchclamp survey`` wrote.

    Raises:
        PatchclampError: no survey there, or one that was interrupted.
        Damaged: a piece is not what it was.
    """

    def __init__(self, path: str | Path) -> None:
        self.bundle = open_bundle(path, kind="survey")
        if not self.bundle.whole:
            raise PatchclampError(
                expected="a finished survey", got=f"{path}, which was interrupted", remedy="Run it again with --resume."
            )
        self.sites = sites_of(self.bundle)
        self.kind = kind_of(self.bundle)

    @property
    def hash(self) -> str:
        """Content hash of manifest and pieces."""
        return self.bundle.hash

    @property
    def n_tokens(self) -> int:
        """Number of tokens that were counted; of images, how many were shown."""
        return int(self.bundle.entries[-1].get("counted", 0))

    def statistics(self, site: str) -> dict[str, Any]:
        """Return a site's statistics by name, each ``(unit, …)``.

        ``mean``, ``variance``, ``minimum``, ``maximum``, ``active`` (share of tokens above 0), ``quantiles``
        ``(unit, probability)`` at ``PROBABILITIES`` from a uniform sample of tokens, and where the minimum stands.
        """
        self._check_known(site)
        names = ("mean", "variance", "minimum", "maximum", "active", "quantiles", "minimum_at")
        check_shapes(self.bundle, ["statistics"])
        arrays = self.bundle.read("statistics", [f"{site}|{n}" for n in names])
        return {n: arrays[f"{site}|{n}"] for n in names}

    def mean(self, site: str) -> Any:
        """Return the ``(width,)`` mean over counted tokens, for mean ablation."""
        self._check_known(site)
        check_shapes(self.bundle, ["statistics"])
        return self.bundle.read("statistics", [f"{site}|mean"])[f"{site}|mean"]

    def table(self, top: int | None = None) -> Table:
        """Return statistics of units: all of them, or the ``top`` that rise highest above their own mean."""
        n_units = sum(site.width for site in self.sites.values())
        counted = f"{self.n_tokens:,} {'tokens' if self.kind == 'text' else self.kind}"
        title = f"{n_units:,} units at {len(self.sites)} sites over {counted}"
        columns = ("unit", "key", "highest", "mean", "lowest", "deviation", "above 0")
        found: Iterable[tuple[str, int]]
        if top is None:
            found = ((path, unit) for path, site in self.sites.items() for unit in range(site.width))
        else:
            keys = [UnitKey.parse(row["key"]) for row in (self.stand_out(top) if top else ())]
            found = ((key.site, key.index) for key in keys)
        known = {path: self.statistics(path) for path in self.sites} if top != 0 else {}
        rows = (
            (name_unit(key), str(key), *_figures(known[key.site], key.index))
            for key in (UnitKey(path, unit) for path, unit in found)
        )
        return Table(title, columns, tuple(rows), n_units, ("unit", "highest"))

    def stand_out(self, top: Natural = 8) -> list[dict[str, Any]]:
        """Return the units that rise highest above their own mean, in standard deviations, the highest first.

        Args:
            top: how many.

        Returns:
            list[dict[str, Any]]: of each its ``key``, ``maximum``, ``mean``, ``deviation``, ``active`` and ``peak``:
            the exemplar in which it is highest (its tokens or its image, and the place).

        Cost: reads the statistics of every site, and the exemplars of those that are named.
        """
        found: list[tuple[float, str, int]] = []
        for site in self.sites:
            rise = self._rise(site)
            best = np.argsort(-rise, kind="stable")[:top]
            found += [(float(rise[unit]), site, int(unit)) for unit in best if np.isfinite(rise[unit])]
        return [self._row(site, unit) for _, site, unit in sorted(found, key=lambda one: -one[0])[:top]]

    def _rise(self, site: str) -> Any:
        """Return by how many standard deviations each unit's maximum exceeds its mean; −∞ where it never changes."""
        statistics = self.statistics(site)
        deviation = np.sqrt(np.maximum(np.asarray(statistics["variance"], dtype=np.float64), 0))
        height = np.asarray(statistics["maximum"], dtype=np.float64) - np.asarray(statistics["mean"], dtype=np.float64)
        known = (deviation > 0) & np.isfinite(height)
        return np.where(known, height / np.where(known, deviation, 1), -np.inf)

    def _row(self, site: str, unit: int) -> dict[str, Any]:
        statistics = self.statistics(site)
        peak = next(iter(self.exemplars(site, unit, ["top"])), None)
        return {
            "key": f"{site}/neurons/{unit}",
            **{name: float(statistics[name][unit]) for name in ("maximum", "mean", "active")},
            "deviation": math.sqrt(max(float(statistics["variance"][unit]), 0.0)),
            "peak": None if peak is None else {"ids": list(peak.ids), "image": peak.image, "place": list(peak.place)},
        }

    def of(self, site: str, stimulus: Natural) -> Any:
        """Refuse: a survey holds no activations.

        Raises:
            PatchclampError: always.
        """
        raise PatchclampError(
            expected="a recording", got="a survey, which holds no activations", remedy="Record the text for that."
        )

    def donors(self, site: str, position: Natural, avoid: str) -> list[int]:
        """Return nothing: a survey holds no activations to resample.

        Returns:
            list[int]: always empty.
        """
        return []

    def exemplars(self, site: str | UnitKey, unit: Natural | None = None, kinds: Sequence[str] = KINDS) -> Exemplars:
        """Return a unit's exemplars, or those of every unit of the site.

        Args:
            site: which site; or the key of a neuron, in place of site and unit.
            unit: which unit; all of them by default.
            kinds: ``top`` (highest first), ``quantile`` (one per decile, from low to high) and ``random``; a unit's
                rows come in the order given.

        Returns:
            Exemplars: of the unit, or of all units in the order of their numbers.

        Raises:
            PatchclampError: an unknown site, unit or kind.
            Damaged: tables that no survey writes.

        Cost: reads the exemplar tables of one site; some 20 bytes per exemplar, and the stimuli that are shown.
        """
        if isinstance(site, UnitKey) or "/" in site:
            key = UnitKey.parse(site) if isinstance(site, str) else site
            site, unit = key.site, key.index
        self._check_known(site)
        strange = [kind for kind in kinds if kind not in KINDS]
        if strange or (unit is not None and unit >= self.sites[site].width):
            raise PatchclampError(
                expected=f"a unit from 0 to {self.sites[site].width - 1}, and kinds among {', '.join(KINDS)}",
                got=f"unit {unit}, kinds {', '.join(map(str, kinds))}",
                remedy="Count from 0.",
            )
        try:
            with report_damage(self.bundle.path, RESTORE):
                return self._exemplars(site, unit, kinds)
        except Damaged:
            raise
        except PatchclampError as problem:
            raise Damaged(expected=problem.expected, got=problem.got, remedy=RESTORE) from problem

    def _exemplars(self, site: str, unit: int | None, kinds: Sequence[str]) -> Exemplars:
        names = [f"{site}|{kind}_{part}" for kind in kinds for part in ("value", "at")]
        tables = self.bundle.read("exemplars", names)
        first = 0 if unit is None else unit
        rows = slice(first, self.sites[site].width if unit is None else unit + 1)
        value = np.concatenate([tables[f"{site}|{kind}_value"][rows] for kind in kinds], axis=1)
        at = np.concatenate([tables[f"{site}|{kind}_at"][rows] for kind in kinds], axis=1)
        counts = [tables[f"{site}|{kind}_value"].shape[1] for kind in kinds]
        kind = np.repeat(np.array([KINDS.index(kind) for kind in kinds], dtype=np.int8), counts)
        # Too short a text leaves places free; a unit without one finite value has top exemplars nowhere.
        row, rank = np.nonzero(at[..., 0] >= 0)
        numbers, position = at[row, rank, 0], at[row, rank, 1]
        stimuli = PackedStimuli.read(self.bundle.read("contexts"))
        stimulus = np.searchsorted(stimuli.numbers, numbers)
        if len(numbers) and not np.array_equal(stimuli.numbers[stimulus], numbers):
            raise LookupError("exemplars in stimuli that were not kept")
        said = self.bundle.manifest
        provenance = Provenance(
            str(said["subject"]["slug"]),
            str(said["subject"]["hash"]),
            "survey",
            seed=said["plan"]["seed"],
            versions=said["versions"],
            hashes={"survey": self.hash},
        )
        exemplars = Exemplars(
            self.sites[site],
            (row + first).astype(np.int32),
            kind[rank],
            value[row, rank],
            position.astype(np.int32),
            stimulus.astype(np.int32),
            stimuli,
            provenance=provenance,
        )
        return exemplars if unit is None else exemplars.compact()

    def _check_known(self, site: str) -> None:
        if site not in self.sites:
            raise PatchclampError(
                expected=f"a site of this survey: {', '.join(list(self.sites)[:6])}",
                got=repr(site),
                remedy="Survey that site.",
            )


def _figures(statistics: Mapping[str, Any], unit: int) -> tuple[float, ...]:
    highest, mean, lowest, active = (float(statistics[n][unit]) for n in ("maximum", "mean", "minimum", "active"))
    return highest, mean, lowest, math.sqrt(max(float(statistics["variance"][unit]), 0.0)), active
