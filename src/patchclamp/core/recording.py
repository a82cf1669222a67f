"""Values with labelled axes, in memory or on disk."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from jaxtyping import Int

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.bundle import Bundle
from patchclamp.core.checks import subject_of, within
from patchclamp.core.errors import Damaged, PatchclampError, report_damage
from patchclamp.core.object_store import open_bundle
from patchclamp.core.plain_names import name_site
from patchclamp.core.site import Site
from patchclamp.core.stimulus import Shown, find_kind, kind_names, unpack_stimuli
from patchclamp.core.table import Table, Tabular
from patchclamp.core.unit import UnitKey

RESTORE = "Something else changed it: restore the folder, or record again."


@checked
@dataclass(frozen=True, eq=False, repr=False)
class Recording(Tabular):
    """Hold what some sites did while some stimuli were shown: rows are tokens, stimulus after stimulus.

    Of images each site has its own number of rows per stimulus: the places of its map, its tokens, or one. A wrapped
    plain network's values are batches as they came, with all the axes of their site: ``(stimulus, position, unit)``.

    Args:
        stimuli: what was shown, in row order.
        values: site path to ``(rows, width)`` array; NumPy, or PyTorch on the subject's device.
        sites: site path to Site.
        provenance: where the values come from (subject, hash, dtype, interventions).
        measure: unit of measure of the values (``a.u.`` for networks).
        rows: of ragged sites, which tokens their rows are: ``(row,)`` ascending token numbers.

    Example:
        >>> from patchclamp.core.stimulus import Stimulus
        >>> s = Stimulus.of(np.array([4, 5, 6]))
        >>> r = Recording((s,), {"a": np.arange(6.0).reshape(3, 2)}, {"a": Site("a", "a", 2)})
        >>> r.of("a", 0).shape, float(r.at("a/neurons/1@2"))
        ((3, 2), 5.0)
    """

    stimuli: tuple[Shown, ...]
    values: Mapping[str, Any]
    sites: Mapping[str, Site]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    measure: str = "a.u."
    rows: Mapping[str, Int[np.ndarray, " row"]] = field(default_factory=dict)

    def table(self, top: int | None = None) -> Table:
        """Return the recorded sites as a table, with the shapes and the range of their values."""
        title = f"{_count(len(self.stimuli), 'stimulus', 'stimuli')} at {_count(len(self.values), 'site', 'sites')}"
        paths = list(self.values)[:top]
        rows = ((name_site(path), path, *_range(self.values[path])) for path in paths)
        return Table(title, ("site", "path", "shape", "lowest", "mean", "highest"), tuple(rows), len(self.values))

    @cached_property
    def offsets(self) -> Int[np.ndarray, " stimuli_plus_one"]:
        """``(stimulus + 1,)`` first row of each stimulus, then the number of rows, where rows are tokens."""
        return np.concatenate([[0], np.cumsum([len(s) for s in self.stimuli])]).astype(np.int64)

    def __getitem__(self, site: str) -> Any:
        """Return all rows of a site, ``(tokens, width)``; of a ragged one those of ``rows``."""
        if site not in self.values:
            raise PatchclampError(
                expected="a site of this recording",
                got=repr(site),
                remedy=f"It holds {', '.join(list(self.values)[:8]) or 'none'}.",
            )
        return self.values[site]

    def of(self, site: str, stimulus: Natural) -> Any:
        """Return one stimulus' rows, ``(position, width)``; a ragged site has those of ``positions`` only."""
        within("a stimulus", stimulus, 0, len(self.stimuli) - 1)
        if self._is_batch(site):
            values = self._of_rows(site)
            # Without positions a stimulus has one row.
            return values[stimulus] if "position" in self.sites[site].axes else values[stimulus : stimulus + 1]
        n = self.sites[site].n_places if site in self.sites else 0
        start, stop = (n * stimulus, n * (stimulus + 1)) if n else self.offsets[stimulus : stimulus + 2]
        if site in self.rows:
            start, stop = np.searchsorted(self.rows[site], [start, stop])
        return self[site][int(start) : int(stop)]

    def _is_batch(self, site: str) -> bool:
        """Whether values are a batch with every axis of their site, the stimuli first."""
        axes = self.sites[site].axes if site in self.sites else ()
        return axes[:1] == ("stimulus",) and self[site].ndim == len(axes)

    def _of_rows(self, site: str) -> Any:
        values = self[site]
        if len(values) != len(self.stimuli):
            raise PatchclampError(
                expected=f"{len(self.stimuli)} rows at {site}, one per stimulus",
                got=f"values of shape {tuple(values.shape)}, whose first axis is something else",
                remedy="Read all of them, recording[site], or record a module whose first axis is the batch.",
            )
        return values

    def positions(self, site: str, stimulus: Natural) -> Int[np.ndarray, " row"]:
        """Return the positions that ``of`` has rows for: all, but at a ragged site."""
        if self._is_batch(site):
            return np.arange(len(self.of(site, stimulus)))
        if site in self.sites and self.sites[site].places:
            return np.arange(self.sites[site].n_places)
        start, stop = self.offsets[stimulus : stimulus + 2]
        if site not in self.rows:
            return np.arange(stop - start)
        rows: np.ndarray = self.rows[site]
        here: np.ndarray = rows[(rows >= start) & (rows < stop)] - start
        return here

    def at(self, key: str | UnitKey, stimulus: Natural = 0) -> Any:
        """Return one unit's value at the key's position (its whole time course where the key names none).

        Raises:
            PatchclampError: another subject's key, or a unit, position or step that the recording does not have.
        """
        unit = UnitKey.parse(key) if isinstance(key, str) else key
        self._refuse_stranger(unit)
        if unit.basis not in ("neurons", "channels"):
            raise PatchclampError(
                expected="a neuron's key", got=str(unit), remedy="Read the site's rows and encode them in that basis."
            )
        rows = self.of(unit.site, stimulus)
        site = self.sites[unit.site]
        # Rows of an image's map have their channels last, whatever the site's axes.
        rows = rows.swapaxes(site.unit_axis, -1) if self._is_batch(unit.site) else rows
        within(f"at {unit.site} a unit", unit.index, 0, rows.shape[-1] - 1)
        column = rows[..., unit.index]
        if unit.position is None:
            return column
        if unit.site not in self.rows:
            if unit.position >= len(column):
                raise PatchclampError(
                    expected=f"a position from 0 to {len(column) - 1} of stimulus {stimulus}, at {unit.site}",
                    got=str(unit),
                    remedy="Count from 0, in the stimulus' own positions.",
                )
            return column[unit.position]
        places = self.positions(unit.site, stimulus).tolist()
        if unit.position not in places:
            raise PatchclampError(
                expected=f"a token that comes by {unit.site}: positions {', '.join(map(str, places)) or 'none'}",
                got=f"position {unit.position}",
                remedy="The router sends it elsewhere; mlp.router says where.",
            )
        return column[places.index(unit.position)]

    def _refuse_stranger(self, unit: UnitKey) -> None:
        slug, _ = subject_of(self)
        if slug and unit.subject not in (None, slug):
            raise PatchclampError(
                expected=f"a key of {slug}, which was recorded",
                got=str(unit),
                remedy="Leave the subject out of the key.",
            )
        if unit.step is not None:
            raise PatchclampError(
                expected="a key without a place, or with a position such as @3",
                got=str(unit),
                remedy="A recording has positions; generated tokens are recorded by running prompt and continuation.",
            )

    @cached_property
    def counted(self) -> Any:
        """``(tokens,)`` which rows statistics count: text and template, not bos, special or pad."""
        masks = [s.counted for s in self.stimuli]
        return np.concatenate(masks) if masks else np.zeros(0, dtype=bool)

    def mean(self, site: str) -> Any:
        """Return the ``(width,)`` mean over counted tokens, or over all places of all images.

        Of a wrapped plain network it is the mean over stimuli: at a site with positions ``(position, width)``.
        """
        rows = _counted_rows(self, site)
        if not len(rows):
            raise _nothing_counted(site)
        # NumPy adds bfloat16 up in bfloat16, which is wrong by any amount.
        return rows.astype(np.float64).mean(0) if isinstance(rows, np.ndarray) else rows.mean(0)

    def donors(self, site: str, position: Natural, avoid: str) -> list[int]:
        """Return the stimuli that reach ``position`` and whose id is not ``avoid``.

        Returns:
            list[int]: numbers of stimuli, ascending.
        """
        if self._is_batch(site):
            n = self[site].shape[1] if "position" in self.sites[site].axes else 1
        else:
            n = self.sites[site].n_places if site in self.sites else 0
        return [i for i, s in enumerate(self.stimuli) if (n or len(s)) > position and s.id != avoid]

    def to_numpy(self) -> "Recording":
        """Return the recording with NumPy arrays (bfloat16 as ml_dtypes.bfloat16), off the device."""
        return replace(self, values={site: as_numpy(v) for site, v in self.values.items()})

    @cached_property
    def hash(self) -> str:
        """SHA-256 over stimulus ids, site paths and values."""
        digest = hashlib.sha256("".join(s.id for s in self.stimuli).encode())
        for site in sorted(self.values):
            digest.update(site.encode() + np.ascontiguousarray(as_numpy(self.values[site])).tobytes())
            if site in self.rows:
                digest.update(np.ascontiguousarray(self.rows[site]).tobytes())
        return digest.hexdigest()


def _nothing_counted(site: str) -> PatchclampError:
    return PatchclampError(
        expected=f"at least one counted token at {site!r}",
        got="a recording with none: it was interrupted, or every token was left out of statistics",
        remedy="Record more, or go on with --resume.",
    )


def _counted_rows(part: Recording, site: str) -> Any:
    rows = part[site]
    if part._is_batch(site) or (site in part.sites and part.sites[site].places):
        return rows
    return rows[part.counted[part.rows[site]] if site in part.rows else part.counted]


def as_numpy(values: Any) -> Any:
    """Return values as a NumPy array, whatever framework and device they lie on."""
    if isinstance(values, np.ndarray):
        return values
    tensor = values.detach().cpu()
    if str(tensor.dtype) == "torch.bfloat16":
        return tensor.view(dtype=_framework_dtype(tensor, "int16")).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def _framework_dtype(tensor: Any, name: str) -> Any:
    """Return a dtype of the tensor's own framework, which core does not import."""
    import sys

    return getattr(sys.modules[type(tensor).__module__.split(".")[0]], name)


def kind_of(bundle: Bundle) -> str:
    """Return the name of the kind of a bundle's stimuli.

    Raises:
        Damaged: something that this version does not know.
    """
    kind = bundle.manifest.get("stimuli", "text")
    if not isinstance(kind, str) or kind not in kind_names():
        raise Damaged(
            expected=f"stimuli that are {' or '.join(kind_names())}",
            got=f"{kind!r}",
            remedy="Update patchclamp, or record again.",
        )
    return kind


def sites_of(bundle: Bundle) -> dict[str, Site]:
    """Return the sites that a bundle's manifest lists, by path.

    Raises:
        Damaged: they are not there, or are not sites.
    """
    try:
        listed = bundle.manifest["sites"]
        return {one["path"]: Site.from_json(one) for one in listed}
    except (KeyError, TypeError) as problem:
        raise Damaged(
            expected="sites in the manifest",
            got=f"{bundle.path}: {type(problem).__name__} {problem}",
            remedy="Something else wrote or changed it; restore it or record again.",
        ) from problem


def check_shapes(bundle: Bundle, only: Sequence[str] | None = None) -> None:
    """Compare what manifest and journal say of a recording's or a survey's sites with the headers of its pieces.

    Args:
        bundle: the recording or survey.
        only: these pieces alone.

    Raises:
        Damaged: sites, widths or numbers of rows differ.
    """
    sites = sites_of(bundle)
    for entry in bundle.pieces:
        wanted = _expected_shapes(bundle, entry, sites) if only is None or entry["piece"] in only else {}
        shapes = bundle.shapes(entry["piece"]) if wanted else {}
        if shapes.keys() != wanted.keys():
            difference = f"arrays {', '.join(sorted(shapes.keys() ^ wanted.keys())[:4])} on one side only"
        else:
            difference = "; ".join(
                f"{name} {shapes[name]} instead of {shape}" for name, shape in wanted.items() if shapes[name] != shape
            )
        if difference:
            raise Damaged(
                expected=f"piece {entry['piece']!r} with the sites, widths and rows that manifest and journal tell",
                got=difference[:300],
                remedy=RESTORE,
            )


def _expected_shapes(bundle: Bundle, entry: Mapping[str, Any], sites: Mapping[str, Site]) -> dict[str, tuple[int, ...]]:
    """Return the shapes that a piece's arrays must have; none for pieces that have no fixed ones."""
    if bundle.manifest["kind"] == "survey" and entry["piece"] == "statistics":
        shapes = {"mean": (), "variance": (), "active": (), "minimum": (), "maximum": (), "minimum_at": (2,)}
        shapes["quantiles"] = (9,)
        return {f"{path}|{name}": (site.width, *more) for path, site in sites.items() for name, more in shapes.items()}
    if bundle.manifest["kind"] != "recording":
        return {}
    n, tokens, kind = int(entry.get("stimuli", 0)), int(entry.get("tokens", 0)), find_kind(kind_of(bundle))
    expected: dict[str, tuple[int, ...]] = {}
    for path, site in sites.items():
        expected[path] = (tokens if kind.positions else n * (site.n_places or 1), site.width)
    # What a stimulus without positions keeps, such as its name, may have any length.
    length = tokens if kind.positions else next(iter(bundle.shapes(entry["piece"]).get(kind.ragged[0], ())), 0)
    return {**expected, **kind.shapes(n, length)}


@checked
class StoredRecording:
    """Read a recording from its folder, a shard at a time.

    Args:
        path: the folder that ``patchclamp record`` wrote.

    Raises:
        PatchclampError: no recording there.
        Damaged: the manifest or a shard is not what it was.
    """

    def __init__(self, path: str | Path) -> None:
        self.bundle = open_bundle(path, kind="recording")
        self.sites = sites_of(self.bundle)
        manifest, entries = self.bundle.manifest, self.bundle.pieces
        self.provenance = {k: manifest.get(k) for k in ("subject", "dtype", "plan")}
        self.kind = kind_of(self.bundle)
        counts = [e.get("stimuli", 0) for e in entries]
        if not all(type(n) is int and n >= 0 for n in counts):
            raise Damaged(
                expected="the number of stimuli of each shard",
                got=f"{counts[:8]}",
                remedy="Something else changed the journal; restore it or record again.",
            )
        self._first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        if self.bundle.whole and self.bundle.entries[-1].get("stimuli") != self.n_stimuli:
            raise Damaged(
                expected=f"{self.bundle.entries[-1].get('stimuli')} stimuli, as the journal's end says",
                got=f"{self.n_stimuli} in its shards",
                remedy="Lines were taken from the journal; restore it or record again.",
            )

    @property
    def hash(self) -> str:
        """Content hash of manifest and shards."""
        return self.bundle.hash

    @property
    def n_stimuli(self) -> int:
        """Number of stimuli recorded so far."""
        return int(self._first[-1])

    def shard(self, number: Natural, sites: Sequence[str] | None = None) -> Recording:
        """Return one shard as a Recording in memory."""
        wanted = self._check_known(sites)
        within("a shard", number, 0, len(self.bundle.pieces) - 1)
        kind = find_kind(self.kind)
        labels = kind.arrays
        entry = self.bundle.pieces[number]
        check_shapes(self.bundle, [entry["piece"]])
        tensors = self.bundle.read(entry["piece"], [*labels, *wanted])
        with report_damage(f"{self.bundle.path}, piece {entry['piece']}", RESTORE):
            stimuli = unpack_stimuli({name: tensors[name] for name in labels})
            if kind.positions and sum(map(len, stimuli)) != entry["tokens"]:
                raise ValueError("its stimuli do not make up its tokens")
        return Recording(stimuli, {s: tensors[s] for s in wanted}, {s: self.sites[s] for s in wanted}, self.provenance)

    def shards(self, sites: Sequence[str] | None = None) -> Iterator[Recording]:
        """Yield the shards in order, each a Recording in memory."""
        return (self.shard(i, sites) for i in range(len(self.bundle.pieces)))

    def load(self, sites: Sequence[str] | None = None) -> Recording:
        """Return the whole recording in memory; its cost is its size on disk."""
        chosen = self._check_known(sites)
        parts = list(self.shards(chosen))
        values = {s: np.concatenate([p.values[s] for p in parts]) for s in chosen} if parts else {}
        stimuli = tuple(s for p in parts for s in p.stimuli)
        return Recording(stimuli, values, {s: self.sites[s] for s in chosen}, self.provenance)

    def of(self, site: str, stimulus: Natural) -> Any:
        """Return one stimulus' rows, ``(position, width)``, reading only its shard."""
        number, place = self._locate(stimulus)
        return self.shard(number, [site]).of(site, place)

    def stimulus(self, stimulus: Natural) -> Shown:
        """Return one stimulus."""
        number, place = self._locate(stimulus)
        return self.shard(number, []).stimuli[place]

    def _check_known(self, sites: Sequence[str] | None) -> list[str]:
        strangers = [site for site in sites or () if site not in self.sites]
        if strangers:
            raise PatchclampError(
                expected="a site of this recording",
                got=", ".join(map(repr, strangers[:4])),
                remedy=f"It holds {', '.join(list(self.sites)[:8])}.",
            )
        return list(self.sites) if sites is None else list(sites)

    def _locate(self, stimulus: int) -> tuple[int, int]:
        within("a stimulus", stimulus, 0, self.n_stimuli - 1)
        number = int(np.searchsorted(self._first, stimulus, side="right")) - 1
        return number, stimulus - int(self._first[number])

    def mean(self, site: str) -> Any:
        """Return the ``(width,)`` mean over counted tokens, one shard in memory at a time.

        Raises:
            PatchclampError: nothing was counted, or no such site.
        """
        self._check_known([site])
        total, count = np.zeros(0), 0
        for part in self.shards([site]):
            rows = _counted_rows(part, site).astype(np.float64)
            total, count = (total if count else 0) + rows.sum(0), count + len(rows)
        if not count:
            raise _nothing_counted(site)
        return total / count

    def donors(self, site: str, position: Natural, avoid: str) -> list[int]:
        """Return the stimuli that reach ``position`` and whose id is not ``avoid``.

        Returns:
            list[int]: numbers of stimuli, ascending.
        """
        stimuli = (s for part in self.shards([]) for s in part.stimuli)
        n = self.sites[site].n_places
        return [i for i, s in enumerate(stimuli) if (n or len(s)) > position and s.id != avoid]


def _range(values: Any) -> tuple[str, float | None, float | None, float | None]:
    """Return the shape of an array, and the lowest, mean and highest of its finite numbers."""
    held = values.detach().float().cpu().numpy() if hasattr(values, "detach") else np.asarray(values, dtype=np.float64)
    shape, known = " × ".join(map(str, held.shape)), held[np.isfinite(held)]
    if not known.size:
        return shape, None, None, None
    return shape, float(known.min()), float(known.mean()), float(known.max())


def _count(n: int, one: str, several: str) -> str:
    return f"{n:,} {one if n == 1 else several}"
