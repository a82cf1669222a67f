"""Which units are near one another, found block by block: nothing that grows with their number is held."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from patchclamp.atlas.bake.weight_panels import Directions, Panels, Rows, blocks_of, largest
from patchclamp.core.bundle import Bundle
from patchclamp.core.resume import open_or_resume
from patchclamp.core.site import Site
from patchclamp.core.stats import wilson_interval
from patchclamp.core.subject import Progress

MOST_UNITS, MARGIN, CANDIDATES = 8, 16, 64
"""Neighbours kept of a unit; products that are computed again in double precision, of which these are the first; and
how many where the first choice is by shorter vectors."""
BLOCK = 2048
"""Units whose vectors are held at once, and compared with as many others; a block is a checkpoint."""
EXACT_UNITS = 65_536
"""Units up to which all pairs are compared, where nothing else is asked for."""
SHORTENED, LEAST_SHORT = 8, 64
"""Of how many dimensions one is left where pairs are chosen by shorter vectors, and how many stay at least."""
PROBES = 256
"""Units whose neighbours are also found exactly, where all others' are approximate."""
NOTHING = 1e-6
MOST_GATHERED = 2**21
"""Numbers that are gathered at once for products in double precision."""

Method = Literal["exact", "approximate", "none"]
PANELS = ("similar", "together", "driven_by")
LEFT_OUT = "neighbours were left out of this atlas (--neighbours none)"


@dataclass(frozen=True, eq=False)
class Population:
    """The units of one site, among which neighbours are sought.

    Args:
        path: of the site.
        layer: of the site; None outside of the blocks.
        first: number of its unit 0 among all units.
        width: how many there are.
        write: gives their write directions; None where these are not known,
        read: read directions likewise.
        sample: gives their values at the same sampled stimuli; None for units that are only neighbours of others.
    """

    path: str
    layer: int | None
    first: int
    width: int
    write: Rows | None = None
    read: Rows | None = None
    sample: Rows | None = None


def populations(
    sites: Sequence[Site],
    found: Directions,
    firsts: Mapping[str, int],
    sample: Callable[[str, slice], np.ndarray],
) -> list[Population]:
    """Return the units of sites with what gives their vectors.

    Args:
        sites: the sites.
        found: their directions.
        firsts: number of each site's unit 0 among all units.
        sample: gives ``(unit, stimulus)`` values of some units of a site.

    Returns:
        list[Population]: one for each site, in their order.
    """

    def of(site: Site) -> Population:
        return Population(
            site.path,
            site.layer,
            firsts[site.path],
            site.width,
            found.write[site.path],
            found.read[site.path] if site.layer is not None else None,
            lambda units: _standardise(sample(site.path, units)),
        )

    return [of(site) for site in sites]


@dataclass(frozen=True)
class _Part:
    """Some units of one population."""

    number: int
    units: slice

    @property
    def n(self) -> int:
        return int(self.units.stop - self.units.start)


@dataclass(frozen=True, eq=False)
class _Bank:
    """The vectors of a block's units for one panel.

    Args:
        ids: numbers of the units.
        rows: their vectors.
        layer: of each.
    """

    ids: Int[Tensor, " unit"]
    rows: Float[Tensor, "unit width"]
    layer: Int[Tensor, " unit"]


def choose_method(asked: Method | None, n_units: int) -> Method:
    """Return how neighbours are found: what was asked for, else exactly up to ``EXACT_UNITS`` units.

    Example:
        >>> choose_method(None, 2_000), choose_method(None, 458_752), choose_method("none", 8)
        ('exact', 'approximate', 'none')
    """
    return asked or ("exact" if n_units <= EXACT_UNITS else "approximate")


def find_neighbours(
    own: Sequence[Population],
    out: Path,
    manifest: Mapping[str, Any],
    *,
    method: Method,
    beside: Sequence[Population] = (),
    resume: bool = False,
    seed: int = 0,
    device: torch.device | None = None,
    progress: Progress | None = None,
) -> "Neighbours":
    """Find each unit's nearest others: by write direction, by co-activation, and as inputs; resumable block by block.

    ``similar`` compares write directions by their cosine, ``together`` values at the same sampled stimuli by their
    correlation, ``driven_by`` takes read · write of units in earlier layers. Products decide in single precision which
    ``MARGIN`` others are looked at; these are computed again in double precision, so that the size of blocks changes
    nothing. ``approximate`` chooses ``CANDIDATES`` by the principal components of the vectors instead, an eighth of
    their dimensions, and finds the neighbours of ``PROBES`` units exactly to say how many are missed.

    Args:
        own: whose neighbours are sought.
        out: a folder for vectors and finished blocks.
        manifest: what decides the result.
        method: ``exact`` or ``approximate``.
        beside: other units that may be neighbours.
        resume: go on with an interrupted search; finished blocks are not computed again.
        seed: of the units that recall is measured on.
        device: where products are computed.
        progress: called with units done and units in all.

    Returns:
        Neighbours: what was found.

    Raises:
        PatchclampError: ``resume`` with another plan, or a full disk.

    Cost: products of all pairs of units over the width of their vectors (a CPU does 10⁸ pairs of 800 in 2 s); memory
    of a few blocks, whatever the number of units; on disk all vectors, in float32.
    """
    search = _Search(own, beside, method, seed, device or torch.device("cpu"))
    plan = {**manifest, "neighbours": {"method": method, "block": BLOCK, "units": [p.width for p in (*own, *beside)]}}
    with open_or_resume(out, kind="neighbours", manifest=plan, resume=resume) as bundle:
        if not bundle.whole:
            search.run(bundle, progress)
    return Neighbours(bundle, search)


class _Search:
    """All units in blocks, and what is done with each."""

    def __init__(
        self,
        own: Sequence[Population],
        beside: Sequence[Population],
        method: Method,
        seed: int,
        device: torch.device,
    ) -> None:
        self.own, self.all = tuple(own), (*beside, *own)
        self.n_beside, self.method, self.seed, self.device = len(beside), method, seed, device
        self.blocks = [*self._cut(range(self.n_beside)), *self._cut(range(self.n_beside, len(self.all)))]
        self.own_blocks = [i for i, block in enumerate(self.blocks) if block[0].number >= self.n_beside]

    def _cut(self, numbers: range) -> Iterator[list[_Part]]:
        """Yield parts of populations that together hold at most ``BLOCK`` units."""
        held: list[_Part] = []
        for number in numbers:
            for units in blocks_of(self.all[number].width, BLOCK):
                part = _Part(number, units)
                if held and sum(one.n for one in held) + part.n > BLOCK:
                    yield held
                    held = []
                held.append(part)
        if held:
            yield held

    def run(self, bundle: Bundle, progress: Progress | None) -> None:
        have = {entry["piece"] for entry in bundle.pieces}

        def once(name: str, number: int, compute: Callable[..., dict[str, np.ndarray]], *more: Any) -> None:
            if f"{name}-{number:05d}" not in have:
                bundle.append(f"{name}-{number:05d}", compute(bundle, number, *more))

        numbers = range(len(self.blocks))
        for number in numbers:
            once("vectors", number, self._vectors)
        if self.method == "approximate":
            if "axes" not in have:
                bundle.append("axes", self._axes(bundle))
            for number in numbers:
                once("short", number, self._shorten)
        total, done = sum(one.width for one in self.own), 0
        for number in self.own_blocks:
            size = sum(part.n for part in self.blocks[number])
            tell = _tell_share(progress, done, size, total)
            tell(0.0)
            once("near", number, self._near, tell)
            done += size
        if self.method == "approximate" and "recall" not in have:
            bundle.append("recall", self._recall(bundle))
        _tell_share(progress, total, 0, total)(1.0)
        bundle.finish()

    def _vectors(self, _bundle: Bundle, block: int) -> dict[str, np.ndarray]:
        """Return what a block's units write (of length 1, and how long it was), read and do at sampled stimuli."""
        arrays: dict[str, np.ndarray] = {}
        for part in self.blocks[block]:
            population = self.all[part.number]
            if population.write is not None:
                rows = _finite_rows(population.write(part.units))
                arrays[f"{part.number}|size"] = torch.linalg.vector_norm(rows, dim=1).numpy()
                arrays[f"{part.number}|write"] = nn.functional.normalize(rows, dim=1).numpy()
            if population.read is not None:
                arrays[f"{part.number}|read"] = _finite_rows(population.read(part.units)).numpy()
            if population.sample is not None:
                arrays[f"{part.number}|sample"] = population.sample(part.units).numpy()
        return arrays

    # -- shorter vectors ----------------------------------------------------------------------------------------------

    def _axes(self, bundle: Bundle) -> dict[str, np.ndarray]:
        """Return the principal axes of what is written, and of what is done at sampled stimuli."""
        moments: dict[str, Tensor] = {}
        for block in range(len(self.blocks)):
            for name, rows in bundle.read(f"vectors-{block:05d}").items():
                kind = name.partition("|")[2]
                if kind in ("write", "sample"):
                    x = torch.from_numpy(rows).to(self.device)
                    moments[kind] = moments.get(kind, torch.zeros(1, device=self.device)) + x.T @ x
        return {kind: _principal(moment).cpu().numpy() for kind, moment in moments.items()}

    def _read_axes(self, bundle: Bundle) -> dict[str, Tensor]:
        return {kind: torch.from_numpy(axes).to(self.device) for kind, axes in bundle.read("axes").items()}

    def _shorten(self, bundle: Bundle, block: int) -> dict[str, np.ndarray]:
        axes, short = self._read_axes(bundle), {}
        for name, rows in bundle.read(f"vectors-{block:05d}").items():
            number, _, kind = name.partition("|")
            basis = axes.get("write" if kind == "read" else kind)
            if kind == "size":
                short[name] = rows
            elif basis is not None:
                short[f"{number}|{kind}"] = (torch.from_numpy(rows).to(self.device) @ basis).cpu().numpy()
        return short

    # -- search -------------------------------------------------------------------------------------------------------

    def _banks(self, bundle: Bundle, piece: str, block: int, *, asking: bool) -> dict[str, _Bank]:
        """Return a block's vectors by panel: those of the units that ask, or of those that are compared with them."""
        arrays = bundle.read(f"{piece}-{block:05d}")
        banks = {}
        for panel in PANELS:
            kind = {"similar": "write", "together": "sample", "driven_by": "read" if asking else "write"}[panel]
            ids, rows, layers = [], [], []
            for part in self.blocks[block]:
                population = self.all[part.number]
                layer = population.layer
                if f"{part.number}|{kind}" not in arrays or (panel == "driven_by" and layer is None):
                    continue
                own = torch.from_numpy(arrays[f"{part.number}|{kind}"]).to(self.device)
                if panel == "driven_by" and not asking:
                    own = own * torch.from_numpy(arrays[f"{part.number}|size"]).to(self.device)[:, None]
                rows.append(own)
                ids.append(torch.arange(part.units.start, part.units.stop, device=self.device) + population.first)
                layers.append(torch.full((part.n,), -1 if layer is None else layer, device=self.device))
            if rows:
                banks[panel] = _Bank(torch.cat(ids), torch.cat(rows), torch.cat(layers))
        return banks

    def _near(self, bundle: Bundle, block: int, tell: Callable[[float], None]) -> dict[str, np.ndarray]:
        """Return the neighbours of a block's units, ids and weights by panel."""
        asking = self._banks(bundle, "vectors", block, asking=True)
        found = self._nearest(bundle, asking, tell, exact=self.method == "exact")
        arrays: dict[str, np.ndarray] = {}
        for panel, (ids, weights) in found.items():
            arrays |= {f"{panel}|units": asking[panel].ids.cpu().numpy(), f"{panel}|ids": ids.numpy()}
            arrays[f"{panel}|weights"] = weights.numpy()
        return arrays

    def _nearest(
        self, bundle: Bundle, asking: Mapping[str, _Bank], tell: Callable[[float], None], *, exact: bool
    ) -> dict[str, tuple[Tensor, Tensor]]:
        chosen = self._candidates(bundle, asking, tell, exact=exact)
        values = {
            p: torch.full(ids.shape, -torch.inf, dtype=torch.float64, device=ids.device) for p, ids in chosen.items()
        }
        for other in range(len(self.blocks)):
            for panel, bank in self._banks(bundle, "vectors", other, asking=False).items():
                if panel in chosen:
                    _measure(asking[panel], bank, chosen[panel], values[panel])
        return {panel: _best(chosen[panel], values[panel]) for panel in chosen}

    def _candidates(
        self, bundle: Bundle, asking: Mapping[str, _Bank], tell: Callable[[float], None], *, exact: bool
    ) -> dict[str, Tensor]:
        """Return the ids of those others whose products are largest; -1 where there are fewer."""
        piece, k = ("vectors", MARGIN) if exact else ("short", CANDIDATES)
        if not exact:
            axes = self._read_axes(bundle)
            names = {"similar": "write", "together": "sample", "driven_by": "write"}
            asking = {p: _Bank(b.ids, b.rows @ axes[names[p]], b.layer) for p, b in asking.items() if names[p] in axes}
        best = {p: torch.full((len(b.ids), k), -torch.inf, device=self.device) for p, b in asking.items()}
        ids = {p: torch.full(b.shape, -1, device=self.device) for p, b in best.items()}
        for other in range(len(self.blocks)):
            for panel, bank in self._banks(bundle, piece, other, asking=False).items():
                if panel in asking and len(bank.ids):
                    own = asking[panel]
                    if panel == "driven_by" and int(bank.layer.min()) >= int(own.layer.max()):
                        continue
                    product = own.rows @ bank.rows.T
                    if panel == "driven_by":
                        product.masked_fill_(bank.layer >= own.layer[:, None], -torch.inf)
                    elif int(bank.ids[0]) <= int(own.ids[-1]) and int(own.ids[0]) <= int(bank.ids[-1]):
                        product.masked_fill_(bank.ids == own.ids[:, None], -torch.inf)
                    high, at = largest(product, min(k, product.shape[1]), nothing=NOTHING)
                    both = torch.cat([best[panel], high], 1)
                    named = torch.cat([ids[panel], bank.ids[at]], 1)
                    # Stable, and blocks come in the order of numbers: of equals the lower number stays.
                    order = both.sort(dim=1, descending=True, stable=True).indices[:, :k]
                    best[panel], ids[panel] = both.gather(1, order), named.gather(1, order)
            tell((other + 1) / len(self.blocks))
        return {p: one.masked_fill(best[p] == -torch.inf, -1) for p, one in ids.items()}

    def _recall(self, bundle: Bundle) -> dict[str, np.ndarray]:
        """Return how many of the exact neighbours of some units were found, and how many these have, by panel."""
        n_units = sum(one.width for one in self.own)
        probes = np.random.default_rng(self.seed).choice(n_units, min(PROBES, n_units), replace=False)
        probed = torch.from_numpy(np.sort(probes) + self.own[0].first).to(self.device)
        banks: dict[str, list[_Bank]] = {}
        kept: dict[str, list[np.ndarray]] = {}
        for number in self.own_blocks:
            near = bundle.read(f"near-{number:05d}")
            for panel, bank in self._banks(bundle, "vectors", number, asking=True).items():
                at = torch.isin(bank.ids, probed).nonzero().flatten()
                banks.setdefault(panel, []).append(_Bank(bank.ids[at], bank.rows[at], bank.layer[at]))
                kept.setdefault(panel, []).append(near[f"{panel}|ids"][at.cpu().numpy()])
        asking = {
            panel: _Bank(*(torch.cat([getattr(one, name) for one in some]) for name in ("ids", "rows", "layer")))
            for panel, some in banks.items()
        }
        hits = {}
        for panel, (ids, _) in self._nearest(bundle, asking, lambda _share: None, exact=True).items():
            true = [set(row[row >= 0].tolist()) for row in ids.numpy()]
            found = [len(one & set(row.tolist())) for one, row in zip(true, np.concatenate(kept[panel]), strict=True)]
            hits[panel] = np.array([sum(found), sum(map(len, true))])
        return hits


@dataclass(frozen=True, eq=False)
class Neighbours:
    """What was found, read block by block."""

    bundle: Bundle
    search: _Search

    def panels(self) -> Iterator[tuple[int, Panels]]:
        """Yield the number of a run of units' first, and by panel ids and weights, a row per unit of the run."""
        for number in self.search.own_blocks:
            arrays = self.bundle.read(f"near-{number:05d}")
            for part in self.search.blocks[number]:
                first = self.search.all[part.number].first + part.units.start
                panels: Panels = {}
                for panel in PANELS:
                    if f"{panel}|units" in arrays:
                        rows = slice(*np.searchsorted(arrays[f"{panel}|units"], [first, first + part.n]))
                        if rows.stop > rows.start:
                            panels[panel] = arrays[f"{panel}|ids"][rows], arrays[f"{panel}|weights"][rows]
                yield first, panels

    def about(self) -> dict[str, Any]:
        """Return how neighbours were found; of approximate ones the share of the nearest that they are, by panel."""
        search = self.search
        n_units = sum(one.width for one in search.all)
        if search.method != "approximate":
            return {"method": search.method, "units": n_units}
        recall = {}
        for panel, (hits, n) in self.bundle.read("recall").items():
            if n:
                interval = wilson_interval(int(hits), int(n))
                recall[panel] = [int(hits) / int(n), interval.low, interval.high, int(n)]
        return {"method": search.method, "units": n_units, "bound": EXACT_UNITS, "probes": PROBES, "recall": recall}


def _tell_share(progress: Progress | None, done: int, size: int, total: int) -> Callable[[float], None]:
    """Return what says which share of so many units more is done."""

    def tell(share: float) -> None:
        if progress is not None:
            progress(done + int(share * size), total)

    return tell


def _standardise(sample: np.ndarray) -> Tensor:
    """Return rows of mean 0 and length 1, so that products are correlations; constant rows become 0."""
    x = torch.from_numpy(np.nan_to_num(sample, nan=0.0, posinf=0.0, neginf=0.0)).float()
    return nn.functional.normalize(x - x.mean(1, keepdim=True), dim=1, eps=1e-6)


def _principal(moment: Float[Tensor, "width width"]) -> Float[Tensor, "width short"]:
    width = len(moment)
    short = min(width, max(LEAST_SHORT, width // SHORTENED))
    return torch.linalg.eigh(moment).eigenvectors[:, -short:].contiguous()


def _finite_rows(rows: Float[Tensor, "unit width"]) -> Float[Tensor, "unit width"]:
    """Return rows, those that are not finite as nothing: they are near nobody."""
    return torch.where(torch.isfinite(rows).all(1, keepdim=True), rows, 0.0)


def _measure(asking: _Bank, bank: _Bank, ids: Int[Tensor, "unit k"], values: Float[Tensor, "unit k"]) -> None:
    """Put the products with those of the chosen units that stand in a bank into their places, in double precision."""
    place = torch.searchsorted(bank.ids, ids).clamp(max=len(bank.ids) - 1)
    rows, columns = (bank.ids[place] == ids).nonzero(as_tuple=True)
    for some in blocks_of(len(rows), max(1, MOST_GATHERED // asking.rows.shape[1])):
        row, column = rows[some], columns[some]
        product = asking.rows[row].double() * bank.rows[place[row, column]].double()
        values[row, column] = product.sum(1)


def _best(ids: Int[Tensor, "unit k"], values: Float[Tensor, "unit k"]) -> tuple[Tensor, Tensor]:
    """Return the ids and products of the ``MOST_UNITS`` largest, of equals the lower ids first; -1 where fewer."""
    ids, order = ids.sort(dim=1)
    weights, order = values.gather(1, order).float().sort(dim=1, descending=True, stable=True)
    ids, weights = ids.gather(1, order)[:, :MOST_UNITS].cpu(), weights[:, :MOST_UNITS].cpu()
    # A product of nothing with nothing names nobody.
    empty = ~torch.isfinite(weights) | (weights.abs() < NOTHING)
    return ids.masked_fill(empty, -1), weights.masked_fill(empty, 0.0)
