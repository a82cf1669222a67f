"""Evidence as it lies on disk: the windows that were drawn for every unit, read group by group."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.bundle import Bundle
from patchclamp.core.checks import within
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.exemplars import ACTIVE, KINDS, Exemplars
from patchclamp.core.json_text import read_word
from patchclamp.core.nearest import find_nearest
from patchclamp.core.provenance import Provenance
from patchclamp.core.site import Site
from patchclamp.core.stimulus import PackedStimuli, runs
from patchclamp.core.table import Table, Tabular
from patchclamp.describe.evidence.drawing import COUNTED_REASONS, REASONS, SIDES, Drawn, Levels

FOLDER = "evidence"


@dataclass(frozen=True, eq=False)
class EvidenceGroup:
    """Hold the evidence for some units of one site, in memory.

    Args:
        site: the site's name, as ``Evidence.sites`` has it.
        units: ``(unit,)`` their numbers at the site.
        train: windows for training, of the units that have evidence.
        test: windows for testing.
        levels: where the units fire.
        skipped: unit to the reason why it has no evidence.
        n_firing: ``(unit, side)`` windows of the text in which each fires.
    """

    site: str
    units: Int[np.ndarray, " unit"]
    train: Exemplars
    test: Exemplars
    levels: Levels
    skipped: dict[int, str]
    n_firing: Int[np.ndarray, "unit side"]


@checked
class Evidence(Tabular):
    """Read the windows that were drawn for every unit, group by group of units, so that memory stays bounded.

    Of a unit that fires below its mean, activations and values have the opposite sign, so that the highest are where it
    fires: ``levels(site).sign`` is −1 there. Marks are the tokens at which it fires, in windows of a neighbour those at
    which the neighbour fires; other silent windows have none.

    Args:
        folder: what ``draw_evidence`` wrote.

    Raises:
        PatchclampError: no evidence there, or an interrupted draw.

    Example:
        >>> import tempfile
        >>> from patchclamp.describe.evidence import EvidenceOptions, draw_evidence
        >>> from patchclamp.loaders import load
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "story.txt").write_text("".join(f"the {w} cat sat on the mat. " * 3 for w in ("old", "a")))
        >>> how = EvidenceOptions(window=4, least=1)
        >>> cat, text, site = load("organism:cat"), folder / "story.txt", "blocks.0.mlp.act"
        >>> draw_evidence(cat, text, site, how, folder=folder / "evidence").sites
        ('blocks.0.mlp.act',)
    """

    def __init__(self, folder: str | Path) -> None:
        self.bundle = Bundle.open(folder, kind=FOLDER)
        self._compared: set[str] = set()
        if not self.bundle.whole:
            raise PatchclampError(
                expected="evidence for all units that were asked for",
                got=f"{folder}, interrupted after {len(self.bundle.pieces)} parts",
                remedy="Go on with resume=True.",
            )

    @cached_property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites: their paths, of heads and features with the basis behind it."""
        return tuple(read_word(one["name"]) for one in self.bundle.manifest["units"])

    @property
    def hash(self) -> str:
        """SHA-256 over everything that was drawn."""
        return self.bundle.hash

    @cached_property
    def provenance(self) -> Provenance:
        """What drew it from what."""
        manifest = self.bundle.manifest
        subject = manifest["subject"]
        return Provenance(
            str(subject["slug"]), str(subject["hash"]), "describe/evidence", options=manifest["options"],
            seed=int(manifest["plan"]["seed"]), versions=manifest["versions"],
            hashes={"stimuli": str(manifest["plan"]["stimuli"]), "evidence": self.hash},
        )  # fmt: skip

    def n_groups(self, site: str) -> int:
        """Return into how many groups a site's units are cut."""
        return len(self._firsts(self._number(site)))

    def train(self, site: str, group: Natural | None = None) -> Exemplars:
        """Return a site's windows for training, of all its units or of one group.

        Raises:
            PatchclampError: no such site or group.
            Damaged: a part is missing or changed.

        Cost: reads what was drawn for the site; memory of 32 activations per window and unit.
        """
        return _join([one.train for one in self._some(site, group)])

    def test(self, site: str, group: Natural | None = None) -> Exemplars:
        """Return a site's windows for testing, of all its units or of one group; see ``train``."""
        return _join([one.test for one in self._some(site, group)])

    def levels(self, site: str) -> Levels:
        """Return where each unit of a site fires: signs, means, peaks and thresholds."""
        number = self._number(site)
        parts = [self._read_drawn(number, g)[1] for g in range(self.n_groups(site))]
        columns = {name: np.concatenate([getattr(one, name) for one in parts]) for name in Levels.__annotations__}
        return Levels(**columns)

    def units(self, site: str) -> Int[np.ndarray, " unit"]:
        """Return the numbers of a site's units, those without evidence among them."""
        chosen = self.bundle.manifest["units"][self._number(site)]["chosen"]
        return np.arange(self._site(self._number(site)).width) if chosen is None else np.array(chosen)

    def skip_reasons(self) -> dict[str, str]:
        """Return the keys of the units without evidence, each with the reason."""
        found: dict[str, str] = {}
        for number, name in enumerate(self.sites):
            head = f"{self._site(number).path}/{self._basis(number)}"
            for group, first in enumerate(self._firsts(number)):
                units = self.units(name)[first : first + self._size]
                reason = self._read_drawn(number, group)[0].reason
                found |= {f"{head}/{units[i]}": list(REASONS.values())[reason[i]] for i in np.flatnonzero(reason)}
        return found

    def count_skipped(self) -> str:
        """Return how many units have no evidence for which reason, and how many windows were read, in words."""
        reasons, least = list(self.skip_reasons().values()), int(self.provenance.options["least"])
        counted = ((reasons.count(REASONS[name]), words) for name, words in COUNTED_REASONS.items())
        parts = reasons if len(reasons) == 1 else [words.format(n=n, least=least) for n, words in counted if n]
        seen = sum(int(one["stimuli"]) for one in self.bundle.pieces if one["piece"].startswith("activations-"))
        return f"{', '.join(parts) or 'none lacks any'}; {seen:,} windows were read, for training and for testing"

    def __iter__(self) -> Iterator[EvidenceGroup]:
        """Yield every group of every site."""
        for number, name in enumerate(self.sites):
            for group in range(self.n_groups(name)):
                yield self._group(number, group)

    def table(self, top: int | None = None) -> Table:
        """Return one row per site: units, those with evidence, and windows on each side."""
        rows = []
        for number, name in enumerate(self.sites[:top]):
            drawn = [self._read_drawn(number, group)[0] for group in range(self.n_groups(name))]
            reasons = np.concatenate([one.reason for one in drawn])
            sides = np.sum([np.bincount(one.side, minlength=2) for one in drawn], axis=0).tolist()
            rows.append((name, len(reasons), int((reasons == 0).sum()), *sides))
        return Table("Evidence", ("site", "units", "with evidence", "for training", "for testing"), tuple(rows))

    def to_json(self, _limit: Natural = 20) -> dict[str, Any]:
        """Return how much was drawn for how many units, and how many have none for which reason."""
        reasons = list(self.skip_reasons().values())
        table = self.table()
        return {
            "sites": [dict(zip(table.columns, row, strict=True)) for row in table.rows],
            "skipped": {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)},
            "provenance": self.provenance.to_json(),
        }

    # -- reading ------------------------------------------------------------------------------------------------------

    @property
    def _size(self) -> int:
        return int(self.bundle.manifest["layout"]["size"])

    def _number(self, site: str) -> int:
        paths = [one["path"] for one in self.bundle.manifest["sites"]]
        names = self.sites if site in self.sites else [path if paths.count(path) == 1 else "" for path in paths]
        if site not in names:
            near = find_nearest(site, self.sites)
            raise PatchclampError(
                expected="a site with evidence",
                got=repr(site),
                remedy=f"For example {', '.join(near or self.sites[:3])}.",
            )
        return names.index(site)

    def _site(self, number: int) -> Site:
        return Site.from_json(self.bundle.manifest["sites"][number])

    def _basis(self, number: int) -> str:
        return read_word(self.bundle.manifest["units"][number]["basis"])

    def _firsts(self, number: int) -> range:
        return range(0, len(self.units(self.sites[number])), self._size)

    def _some(self, site: str, group: int | None) -> Iterator[EvidenceGroup]:
        number, n = self._number(site), self.n_groups(site)
        if group is not None:
            within(f"of {site} a group", group, 0, n - 1)
        return (self._group(number, g) for g in (range(n) if group is None else [group]))

    def _read_drawn(self, number: int, group: int) -> tuple[Drawn, Levels]:
        return read_drawn(self._read(f"drawn-{number:04d}-{group:05d}"))

    def _read(self, piece: str, names: list[str] | None = None) -> dict[str, np.ndarray]:
        """Return arrays of a piece, whose bytes are compared with what was committed the first time."""
        if piece not in self._compared:
            self.bundle.check(piece)
            self._compared.add(piece)
        return self.bundle.read(piece, names)

    def _group(self, number: int, group: int) -> EvidenceGroup:
        drawn, levels = self._read_drawn(number, group)
        name, site = self.sites[number], self._site(number)
        units = self.units(name)[group * self._size : (group + 1) * self._size]
        windows, stimulus = np.unique(drawn.window, return_inverse=True)
        values, marks, shown = [], [], []
        for entry in self.bundle.pieces:
            if entry["piece"].startswith("activations-"):
                own = f"{number}|{group}"
                read = self._read(entry["piece"], [own, f"{own}|marks"])
                values.append(read[own])
                marks.append(read[f"{own}|marks"])
                shown.append(self._read_shown(entry["piece"], windows))
        stimuli = _join_stimuli([one for one in shown if one is not None])
        order = np.lexsort((drawn.unit, drawn.window))
        lengths = np.full(len(drawn.unit), site.n_places) if site.places else stimuli.lengths_of(stimulus)
        whole = np.concatenate([np.zeros(0, dtype=np.float32), *values])
        cuts = np.concatenate([[0], np.cumsum(lengths[order])]).astype(np.int64)
        # (token,): whether a neighbour fires there
        related = np.repeat(drawn.neighbour[order] >= 0, lengths[order])
        others, kept = np.zeros(len(related), dtype=bool), np.concatenate([np.zeros(0, dtype=bool), *marks])
        if (len(related), related.sum()) != (len(whole), len(kept)):
            raise Damaged(
                expected=f"{len(related):,} activations of {name}, and marks for {related.sum():,}",
                got=f"{len(whole):,}, and {len(kept):,}",
                remedy="Draw the evidence again in another folder.",
            )
        others[related] = kept
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        back, _ = runs(cuts, back)
        # (token,): NaN where a token is not counted
        acts = whole[back] * np.repeat(levels.sign[drawn.unit], lengths).astype(np.float32)
        every = _exemplars(
            site, self._basis(number), self.provenance, drawn, levels, units, stimuli, stimulus, acts, others[back]
        )
        train, test = (every.take(np.flatnonzero(drawn.side == side)).compact() for side in range(len(SIDES)))
        reasons = list(REASONS.values())
        skipped = {int(units[i]): reasons[drawn.reason[i]] for i in np.flatnonzero(drawn.reason)}
        return EvidenceGroup(name, units, train, test, levels, skipped, drawn.n_firing)

    def _read_shown(self, piece: str, windows: np.ndarray) -> PackedStimuli | None:
        """Return those of some windows whose stimuli a piece keeps."""
        names = [name for name in self.bundle.shapes(piece) if "|" not in name]
        if names == ["stimulus"]:
            return None
        kept = PackedStimuli.read(self._read(piece, names))
        return kept.take(np.flatnonzero(np.isin(kept.numbers, windows)))


def read_drawn(arrays: dict[str, np.ndarray]) -> tuple[Drawn, Levels]:
    """Return what a piece of drawn windows holds."""
    drawn = {name: arrays[name] for name in Drawn.__annotations__}
    return Drawn(**drawn), Levels(**{name: arrays[name] for name in Levels.__annotations__})


def _exemplars(
    site: Site,
    basis: str,
    provenance: Provenance,
    drawn: Drawn,
    levels: Levels,
    units: np.ndarray,
    stimuli: PackedStimuli,
    stimulus: np.ndarray,
    acts: np.ndarray,
    others: np.ndarray,
) -> Exemplars:
    """Return all rows of a group, each at its highest activation; marks are where it, or its row's neighbour, fires."""
    lengths = np.full(len(drawn.unit), site.n_places) if site.places else stimuli.lengths_of(stimulus)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    row = np.repeat(np.arange(len(lengths)), lengths)
    highest = np.where(np.isnan(acts), -np.inf, acts)
    best = np.lexsort((-highest, row))[starts[:-1]]
    is_active = np.isin(drawn.kind, [KINDS.index(kind) for kind in ACTIVE])
    marked = np.flatnonzero((highest >= levels.fires[drawn.unit][row]) & is_active[row] | others)
    return Exemplars(
        site,
        units[drawn.unit].astype(np.int32),
        drawn.kind.astype(np.int8),
        highest[best],
        (best - starts[:-1]).astype(np.int32),
        stimulus.astype(np.int32),
        stimuli,
        (marked - starts[row[marked]]).astype(np.int32),
        np.searchsorted(marked, starts).astype(np.int64),
        basis,
        provenance,
        np.nan_to_num(acts),
    )


def _join_stimuli(parts: list[PackedStimuli]) -> PackedStimuli:
    """Return stimuli of one kind, part after part."""
    if not parts:
        return PackedStimuli.of([], [])
    kind = parts[0].kind
    arrays = {
        name: np.concatenate([one.arrays[name] for one in parts]) for name in parts[0].arrays if name != kind.offsets
    }
    lengths = [np.diff(one.arrays[kind.offsets]) for one in parts]
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
    return PackedStimuli({**arrays, kind.offsets: offsets}, np.concatenate([one.numbers for one in parts]))


def _join(parts: list[Exemplars]) -> Exemplars:
    """Return the rows of groups whose units follow one another as one."""
    if len(parts) == 1:
        return parts[0]
    firsts = np.cumsum([0, *(len(one.stimuli) for one in parts)])
    cuts = np.cumsum([0, *(len(one.marks) for one in parts if one.marks is not None)])
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(one, name) for one in parts])
        for name in ("unit", "kind", "value", "position", "marks", "activations")
    }
    stimulus = np.concatenate([one.stimulus + first for one, first in zip(parts, firsts, strict=False)])
    marks = [one.mark_offsets[1:] + cut for one, cut in zip(parts, cuts, strict=False) if one.mark_offsets is not None]
    return replace(
        parts[0],
        **columns,
        stimulus=stimulus.astype(np.int32),
        stimuli=_join_stimuli([one.stimuli for one in parts]),
        mark_offsets=np.concatenate([[0], *marks]).astype(np.int64),
    )
