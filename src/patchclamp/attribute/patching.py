"""Patch one run's activations into another, place by place, and measure the share of the answer that each restores."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8

from patchclamp.ablate import Baseline, Cases, UnitSets, measure_sets
from patchclamp.attribute.direction import check_direction
from patchclamp.attribute.patching_grid import USUAL, Grid, grid_of, sites_named
from patchclamp.attribute.provenance import note_answers
from patchclamp.core.arguments import checked
from patchclamp.core.checks import at_least
from patchclamp.core.errors import PatchclampError
from patchclamp.core.keys import Block, UnitIndex
from patchclamp.core.provenance import Provenance, read_versions
from patchclamp.core.recording import Recording
from patchclamp.core.score_maps import SHARES
from patchclamp.core.scores import Scores
from patchclamp.core.stats_columns import columns_bytes, mean_columns
from patchclamp.core.stimulus import Shown
from patchclamp.core.subject import Progress
from patchclamp.core.task import words_of
from patchclamp.subjects.bases import count_units, encode
from patchclamp.subjects.cases import ReadTask
from patchclamp.subjects.model import Model
from patchclamp.subjects.network import Network
from patchclamp.subjects.pass_memory import PYTHON, count_forward_bytes
from patchclamp.subjects.plain import check_places, model_of

PAIRS, CELLS, BYTES = 64, 65_536, 256 * 2**20
"""Most pairs, cells and bytes of activations that are held at once."""
MOST_BYTES = 2 * 2**30
"""Most bytes of effects, a number per pair and cell."""
SHOWN = 20_000
"""Cells that are written as JSON with interval and p, the strongest first; the folder's arrays hold all."""
PAGE_BYTES, DRAWN_BYTES, DRAWN, CELL_BYTES = 18_000, 200, 350, 170
"""What a page takes on disk, each cell that it draws, how many these are at most, and a cell in the table beside it."""


@checked
def patch_sites(
    model: Network,
    cases: ReadTask,
    sites: str | Sequence[str] = USUAL,
    *,
    positions: str | Sequence[str] = "each",
    direction: str = "denoise",
    batch_size: int = 64,
    progress: Progress | None = None,
) -> Scores:
    r"""Patch every unit at every place, one at a time, on every case: the share of the answer that each restores.

    With x a clean prompt, x′ its corrupted counterpart and n(·) a unit's activation:

    denoise: AP(n) = [m(x′ with n := n(x)) − m(x′)] / [m(x) − m(x′)]

    noise: AP(n) = [m(x) − m(x with n := n(x′))] / [m(x) − m(x′)]

    Both are 1 if the patch makes all the difference and 0 if it makes none. A cell where both runs have equal bits,
    such as before the first token that differs, is 0 without being run.

    Args:
        model: the subject; of a wrapped plain network patterns of module sites.
        cases: what ``subject.read(task)`` returns.
        sites: some of ``resid`` (every block's input and the last one's output), ``attn`` and ``mlp`` (what they
            write), ``head``, ``neuron``, ``feature`` (of the bases that were added), or patterns of site paths: the
            whole vector there, or with ``/heads`` or ``/neurons`` behind it each of its units.
        positions: ``each`` by itself; ``all`` at once; or spans such as ``-1`` or ``3:5``, each at once. Prompts of
            different length are aligned at their ends, where m is read; every cell says how many pairs it has.
        direction: ``denoise`` or ``noise``.
        batch_size: cells per forward pass.
        progress: called with cells done and cells in all.

    Returns:
        Scores: ``(unit · place,)`` mean share of m(x) − m(x′) that each unit at each place restores, or takes away;
            ``per_case`` holds every case's, nan where it has no such place, and ``measures["run"]`` in how many cases
            the two runs differ there. ``estimates`` gives intervals and p over cases.

    Raises:
        PatchclampError: unknown sites, spans that no prompt has, or more cells than memory should hold.
        CannotIntervene: a site that can only be read.

    Source: activation patching as in 2508.21258; the normalisation is each pair's own, and means are taken after it.

    Cost: a row of a forward pass from the site's block on for every pair, place and unit; three forwards per pair.

    Example:
        >>> from patchclamp.loaders import load, open_task
        >>> cat = load("organism:cat")
        >>> scores = patch_sites(cat, cat.read(open_task("planted", cat)), "neuron")
        >>> [(str(key), round(scores.score(key), 2)) for key in scores.top(1, signed=False)]
        [('blocks.0.mlp.act/neurons/7@3', 1.0)]
    """
    job = plan_patching(model, cases, sites, positions=positions, direction=direction, batch_size=batch_size)
    per_case, run = np.empty((len(cases), len(job.index))), np.zeros(len(job.index))
    for members, (part, moved) in zip(job.members, job.parts(progress=progress), strict=True):
        per_case[members] = part
        run += moved
    return job.scores(per_case, run)


def plan_patching(
    model: Network,
    cases: ReadTask,
    sites: str | Sequence[str] = USUAL,
    *,
    positions: str | Sequence[str] = "each",
    direction: str = "denoise",
    batch_size: int = 64,
) -> "Patching":
    """Return a job of patching without running it: its cost, and its parts one by one.

    Args:
        model: the subject.
        cases: what ``subject.read(task)`` returns.
        sites: as of ``patch_sites``, like all that follow.

    Returns:
        Patching: the job.

    Raises:
        PatchclampError: as ``patch_sites``.

    Example:
        >>> from patchclamp.loaders import load, open_task
        >>> cat = load("organism:cat")
        >>> plan_patching(cat, cat.read(open_task("planted", cat)), "neuron").n_cells
        128
    """
    laid = model_of(model, cases)
    return Patching(laid, cases, sites_named(laid, sites), grid_of(cases, positions), direction, batch_size)


@dataclass(frozen=True, eq=False)
class Patching:
    """Hold a job of patching: its cost, and its parts, each of some cases of one length.

    Args:
        model: the subject.
        cases: prompts with counterparts, and m of each.
        sites: path and basis of each.
        grid: the places.
        direction: ``denoise`` or ``noise``.
        batch_size: cells per forward pass.

    Raises:
        PatchclampError: an unknown direction, or more effects than memory should hold.
    """

    model: Model
    cases: ReadTask
    sites: list[tuple[str, str]]
    grid: Grid
    direction: str
    batch_size: int = 64

    def __post_init__(self) -> None:
        check_direction(self.direction)
        at_least("a batch size", self.batch_size, 1)
        if self.grid.how != "all":
            check_places(
                self.model, [path for path, _ in self.sites], len(self.cases.clean[0]), "Take positions='all'."
            )
        if self.n_bytes > MOST_BYTES:
            raise PatchclampError(
                expected=f"at most {MOST_BYTES // 2**30} GiB of effects",
                got=f"{self.n_cells:,} cells, {self.n_bytes / 2**30:.1f} GiB",
                remedy="Take fewer pairs, fewer sites, or --positions all.",
            )

    @cached_property
    def n_units(self) -> list[int]:
        """How many units each site has."""
        return [count_units(self.model.basis_at(path, basis), self.model.site(path)) for path, basis in self.sites]

    @cached_property
    def index(self) -> UnitIndex:
        """Every unit at every place."""
        places = None if self.grid.how == "all" else len(self.grid.places)
        blocks = [Block(path, basis, n, places) for (path, basis), n in zip(self.sites, self.n_units, strict=True)]
        return UnitIndex(blocks, spans=self.grid.places if self.grid.how in ("end", "spans") else ())

    @property
    def n_cells(self) -> int:
        """Cells in all: pairs, places and units; those that need not be run among them."""
        places = sum(bool(self.grid.at(k, len(x))) for x in self.cases.clean for k in range(len(self.grid.places)))
        return places * sum(self.n_units)

    @property
    def forward(self) -> int:
        """Rows of forward passes at most: both ends of every pair, its streams again, and every cell."""
        return 3 * len(self.cases) + self.n_cells

    @property
    def n_bytes(self) -> int:
        """Memory of all effects."""
        return 8 * len(self.cases) * len(self.index)

    @property
    def disk_bytes(self) -> int:
        """About what the folder takes: effects, the pairs' words, the table of cells and the page."""
        words = sum(len(words_of(x)) for case in self.cases.task.cases for x in (case.shown, case.counterpart))
        shown = min(len(self.index), SHOWN)
        page = PAGE_BYTES + DRAWN_BYTES * min(shown, DRAWN)
        means = (16 + len(self.members)) * len(self.index) + 400 * len(self.members)
        return self.n_bytes + means + page + CELL_BYTES * shown + 2 * words + 200 * len(self.cases)

    @property
    def held_bytes(self) -> int:
        """Bytes of the activations, residual streams and a forward pass in memory at once, besides the model's own."""
        longest = max(len(x) for x in self.cases.clean)
        rows = min(self.batch_size, self.n_cells)
        replaced = {self.model.site(path).kind for path, _ in self.sites}
        running = self._most * self._per_pair + rows * count_forward_bytes(self.model, longest, replaced)
        # When all is measured, intervals and p of the cells that are shown are drawn.
        return PYTHON + max(running, columns_bytes(min(len(self.index), SHOWN)))

    @property
    def _per_pair(self) -> int:
        sites = [self.model.site(path) for path in dict.fromkeys(path for path, _ in self.sites)]
        longest = max(*(len(x) for x in self.cases.clean), *(site.n_places for site in sites))
        wide = sum(site.width for site in sites)
        stream = self.model.site("blocks.0.resid_in").width * self.model.n_layers if self.model.n_layers else 0
        return longest * (2 * wide + stream) * torch.finfo(self.model.dtype).bits // 8

    @cached_property
    def _most(self) -> int:
        cells = max(len(self.index), 1)
        return max(1, min(PAIRS, CELLS // cells, BYTES // max(self._per_pair, 1), len(self.cases)))

    @cached_property
    def members(self) -> list[Int[np.ndarray, " some"]]:
        """The pairs of each part."""
        return list(self.cases.batches_by_length(self._most))

    def seconds(self) -> float:
        """Estimate seconds; an upper bound, because cells with equal values are skipped."""
        rows = min(self.batch_size, 64)
        shown, metric = [self.cases.clean[0]] * rows, self.cases.metric([0] * rows)
        self.model.measure(shown, metric)  # the first pass pays for set-up
        began = time.monotonic()
        self.model.measure(shown, metric)
        spent = time.monotonic() - began
        layers = max(self.model.n_layers, 1)
        left = [
            n * (1 - (self.model.site(path).layer or 0) / layers)
            for n, (path, _) in zip(self.n_units, self.sites, strict=True)
        ]
        return spent * self.n_cells / rows * sum(left) / max(sum(self.n_units), 1)

    def parts(
        self, first: int = 0, progress: Progress | None = None
    ) -> Iterator[tuple[Float[np.ndarray, "some key"], UInt8[np.ndarray, " key"]]]:
        """Compute the parts from ``first`` on, one by one.

        Args:
            first: how many parts are computed already.
            progress: called with cells done and cells in all.

        Yields:
            tuple: the effects of every key on some pairs, and in how many of these the patch was run.
        """
        total = self.n_cells
        done = sum(self._cells_of(members) for members in self.members[:first])
        for members in self.members[first:]:
            cells = self._cells_of(members)
            before = done + cells

            def within(so_far: int, running: int, before: int = before) -> None:
                if progress is not None:
                    progress(before - running + so_far, total)

            effects, run = self._part(members, within)
            yield effects, run
            done = before
            if progress is not None and not run.any():
                progress(done, total)

    def _cells_of(self, members: Int[np.ndarray, " some"]) -> int:
        length = len(self.cases.clean[members[0]])
        places = sum(bool(self.grid.at(k, length)) for k in range(len(self.grid.places)))
        return len(members) * places * sum(self.n_units)

    def _part(self, members: np.ndarray, progress: Progress) -> tuple[np.ndarray, np.ndarray]:
        clean, corrupted = ([those[i] for i in members] for those in (self.cases.clean, self.cases.counterpart))
        denoise = self.direction == "denoise"
        into, donors = (corrupted, clean) if denoise else (clean, corrupted)
        paths = list(dict.fromkeys(path for path, _ in self.sites))
        both = self.model.run([*into, *donors], record=paths, logits=False).recording
        length = len(into[0])
        spots = [self.grid.at(k, length) for k in range(len(self.grid.places))]
        effects, cells = np.full((len(members), len(self.index)), np.nan), []
        for number, (path, basis) in enumerate(self.sites):
            moved = self._differences(both, path, basis, len(members))  # (pair, position, unit)
            keys = self.index.grid(path, basis)
            for place, spot in enumerate(spots):
                if spot:
                    effects[:, keys[place]] = 0.0  # what is the same in both runs changes nothing, and is not run
                    rows = np.argwhere((moved if self.grid.how == "all" else moved[:, list(spot)]).any(1))
                    cells.append(np.insert(rows, [1, 1], [number, place], axis=1))  # (pair, site, place, unit)
        which = np.concatenate(cells)  # (cell, 4)
        measured = self._measure_cells(members, into, both, which, spots, progress) if len(which) else np.zeros(0)
        ends = self.cases.m_clean[members], self.cases.m_counterpart[members]
        start, sign = (ends[1], 1.0) if denoise else (ends[0], -1.0)
        shares = sign * (measured - start[which[:, 0]]) / (ends[0] - ends[1])[which[:, 0]]
        pair, site, place, unit = which.T
        keys = np.array(self.index.firsts)[site] + place * np.array(self.n_units)[site] + unit
        effects[pair, keys] = shares
        return effects, np.bincount(keys, minlength=len(self.index)).astype(np.uint8)

    def _measure_cells(
        self,
        members: Int[np.ndarray, " some"],
        into: Sequence[Shown],
        both: Recording,
        which: Int[np.ndarray, "cell 4"],
        spots: Sequence[tuple[int, ...]],
        progress: Progress,
    ) -> Float[np.ndarray, " cell"]:
        """Return m of each cell: some pair, site, place and unit, patched from the other half of a recording."""
        n, whole = len(into), self.grid.how == "all"
        blocks = [
            Block(path, basis, k, None if whole else len(into[0]))
            for (path, basis), k in zip(self.sites, self.n_units, strict=True)
        ]
        index = UnitIndex(blocks)
        # One set per site, place and unit; of each only the pairs whose runs differ there are measured.
        sets, cell = np.unique(which[:, 1:], axis=0, return_inverse=True)
        at = [np.zeros(1, dtype=np.int64) if whole else np.array(spot, dtype=np.int64) for spot in spots]
        rows = [index.firsts[site] + at[place] * self.n_units[site] + unit for site, place, unit in sets.tolist()]
        only = np.zeros((n, len(sets)), dtype=bool)
        only[which[:, 0], cell] = True
        values = {path: x[len(x) // 2 :] for path, x in both.values.items()}
        donors = Baseline("corrupted", Recording(both.stimuli[n:], values, both.sites, both.provenance), None)
        cases = Cases(into, [self.cases.metrics[i] for i in members])
        measured = measure_sets(
            self.model, cases, UnitSets(index, rows), donors, only=only, batch_size=self.batch_size, progress=progress
        )
        per_cell: np.ndarray = measured[which[:, 0], cell]
        return per_cell

    def _differences(self, both: Recording, path: str, basis: str, n: int) -> Bool[np.ndarray, "some position unit"]:
        """Return where the two runs differ."""
        values = both[path]
        known = self.model.basis_at(path, basis)
        if known.kind == "directions":
            values = encode(known, values)
        a, b = values.unflatten(0, (2, n, -1))
        n_units = count_units(known, self.model.site(path))
        different = (a != b).unflatten(-1, (n_units, -1)).any(-1)
        moved: np.ndarray = different.cpu().numpy()
        return moved

    def scores(
        self, per_case: Float[np.ndarray, "pair key"], run: Float[np.ndarray, " key"], *, known: bool = True
    ) -> Scores:
        """Build Scores from all parts together.

        Args:
            per_case: ``(case, key)`` effects.
            run: ``(key,)`` in how many cases the patch was run.
            known: False if nothing was patched yet, and only the keys and the provenance are of interest.

        Returns:
            Scores: means over cases, in shares of m(x) − m(x′).
        """
        cases, first = self.cases, self.cases.task.cases[0]
        measure = cases.metrics[0].kind
        return Scores(
            self.index,
            mean_columns(per_case)[0] if known else np.zeros(len(self.index)),
            SHARES[self.direction],
            "corrupted",
            float(cases.m_clean.mean()),
            float(cases.m_counterpart.mean()),
            per_case,
            measures={"run": run},
            task=cases.task.hash,
            provenance=Provenance(
                self.model.name,
                self.model.hash,
                options={
                    "sites": ["/".join(site) for site in self.sites],
                    "positions": list(self.grid.places),
                    "direction": self.direction,
                    "metric": measure,
                    "batch_size": self.batch_size,
                },
                versions=read_versions(),
                hashes=dict(self.model.origin),
                extra={
                    "aligned": self.grid.how,
                    "tokens": list(self.tokens),
                    "skipped": cases.count_skipped(),
                    **note_answers(cases),
                    "example": [words_of(first.shown), words_of(first.counterpart)],
                    "device": self.model.device.type,
                    "dtype": str(self.model.dtype).removeprefix("torch."),
                },
            ),
        )

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """The token at each place, if all clean prompts have the same."""
        if not hasattr(self.model, "tokenizer"):
            return ("",) * len(self.grid.places)
        tokens = []
        for place in range(len(self.grid.places)):
            at = [(x, self.grid.at(place, len(x))) for x in self.cases.clean]
            ids = {int(x.ids[spot[0]]) for x, spot in at if len(spot) == 1}
            single = len(ids) == 1 and all(len(spot) < 2 for _, spot in at)
            tokens.append(self.model.tokenizer.token(ids.pop()) if single else "")
        return tuple(tokens)
