"""How alike two networks are over one text: their layers, their units, and what they say next."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate, finite
from patchclamp.core.json_text import read_list, read_mapping, read_number, read_numbers, read_whole, read_word
from patchclamp.core.lens_difference import SAME, LensDifference
from patchclamp.core.noun_folder import InParts
from patchclamp.core.plain_names import name_unit
from patchclamp.core.plain_numbers import format_fixed, format_general
from patchclamp.core.provenance import Provenance
from patchclamp.core.stats import Interval
from patchclamp.core.table import Table, Tabular

MOVED = ("r", "mean_first", "mean_second", "max_first", "max_second", "cosine", "change", "share")
"""What is measured of a unit that both networks have: see ``ModelComparison.moved``."""
ABOVE = 0.025
"""Share of shuffled best partners whose correlation counts as above chance."""


@checked
@dataclass(frozen=True)
class TokenChange:
    """One next token whose probability differs between two networks.

    Args:
        token: its text.
        id: its number.
        first: its probability by the first network.
        second: by the second.
        context: the text before it.
        stimulus: which stimulus, counted from 0.
        position: of the token before it.
    """

    token: str
    id: Natural
    first: float
    second: float
    context: str = ""
    stimulus: Natural = 0
    position: Natural = 0


@checked
@dataclass(frozen=True)
class ComparedText:
    """Some consecutive tokens, and how much two networks differ after each.

    Args:
        tokens: their texts.
        ids: their numbers.
        divergence: KL divergence of the next token after each, in nats.
        changes: after each the tokens whose probability differs most, the largest difference first.
        stimulus: which stimulus they stand in, counted from 0.
        start: position of the first of them.
    """

    tokens: tuple[str, ...]
    ids: tuple[int, ...]
    divergence: tuple[float, ...]
    changes: tuple[tuple[TokenChange, ...], ...]
    stimulus: Natural = 0
    start: Natural = 0


@checked
@dataclass(frozen=True, eq=False, repr=False)
class ModelComparison(InParts, Tabular):
    """Hold how alike two networks are over one text.

    Args:
        names: what the two are called.
        hashes: of their weights; of one that is edited or steered the hash says so.
        n_tokens: tokens that were counted.
        layers: sites of the first and of the second that were compared, layer by layer.
        similarity: ``(layer, layer)`` Spearman correlation of dissimilarities between sampled tokens.
        low: ``(layer, layer)`` lower ends of its 95 % intervals.
        high: their upper ends.
        shuffled: the same with the tokens of the second network shuffled, over all cells: its interval.
        shuffled_mean: its mean.
        n_conditions: tokens between which dissimilarities were measured.
        units: site → number of units, of the first and of the second.
        partner: ``(unit, site)`` unit of each site of the second that is most correlated; −1 for silent units.
        correlation: ``(unit, site)`` that correlation; NaN for silent units.
        back: ``(unit, site)`` the other way: units of the first for those of the second.
        chance: ``(unit,)`` the best correlation of units with the tokens of the second network shuffled; NaN for units
            that were not drawn.
        n_sampled: tokens over which units were correlated.
        moved_sites: sites that both have with as many units.
        moved: ``(unit, 8)`` of their units: correlation r, means and maxima, cosine of what both write, the root mean
            square of the change in what is written to the stream, and that as a share of what both write.
        divergence: mean KL divergence of the next token, first from second, in nats per token.
        agreement: share of tokens after which both find the same token likeliest.
        random: the mean divergence of random changes of the same size; empty where there are none.
        changes: tokens whose probability differs most, the largest difference first.
        texts: stretches of the text, the ones that differ most first, and the text's beginning last.
        lens: how the logit lenses differ, layer by layer.
        cautions: what a reader should know.
        provenance: what made it.

    Raises:
        PatchclampError: arrays of shapes that do not fit.
    """

    FOLDER: ClassVar[str] = "model_comparison"

    names: tuple[str, str]
    hashes: tuple[str, str]
    n_tokens: Natural
    layers: tuple[tuple[str, ...], tuple[str, ...]]
    similarity: Float[np.ndarray, "first second"]
    low: Float[np.ndarray, "first second"]
    high: Float[np.ndarray, "first second"]
    shuffled: Interval
    shuffled_mean: float
    n_conditions: Natural
    units: tuple[Mapping[str, int], Mapping[str, int]]
    partner: Int[np.ndarray, "unit site"]
    correlation: Float[np.ndarray, "unit site"]
    back: Int[np.ndarray, "other place"]
    chance: Float[np.ndarray, " unit"]
    n_sampled: Natural
    moved_sites: tuple[str, ...]
    moved: Float[np.ndarray, "shared measure"]
    divergence: Estimate
    agreement: float
    random: tuple[float, ...] = ()
    changes: tuple[TokenChange, ...] = ()
    texts: tuple[ComparedText, ...] = ()
    lens: LensDifference = field(default_factory=LensDifference)
    cautions: tuple[str, ...] = ()
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        first, second = (sum(side.values()) for side in self.units)
        wanted = {
            "similarity": tuple(map(len, self.layers)),
            "low": tuple(map(len, self.layers)),
            "high": tuple(map(len, self.layers)),
            "partner": (first, len(self.units[1])),
            "correlation": (first, len(self.units[1])),
            "back": (second, len(self.units[0])),
            "chance": (first,),
            "moved": (sum(self.units[0].get(site, 0) for site in self.moved_sites), len(MOVED)),
        }
        wrong = [name for name, shape in wanted.items() if np.shape(getattr(self, name)) != shape]
        if wrong:
            raise PatchclampError(
                expected=f"{wrong[0]} of shape {wanted[wrong[0]]}",
                got=str(np.shape(getattr(self, wrong[0]))),
                remedy="Give a row for each layer or unit of the first, a column for each of the second.",
            )

    # -- what people read ---------------------------------------------------------------------------------------------

    @property
    def sentence(self) -> str:
        """The comparison in one sentence."""
        one, other = (repr(name) for name in self.names)
        value = self.divergence.value
        if value < SAME:
            said = f"{one} and {other} say the same: mean KL divergence 0 nats per token"
        else:
            said = (
                f"{one} and {other} find the same next token likeliest at {_share(self.agreement)} of "
                f"{self.n_tokens:,} tokens: mean KL divergence {format_general(value)} nats per token"
            )
            if self.random:
                said += f", {format_general(float(np.mean(self.random)))} by random changes of the same size"
        if self.similarity.size:
            said += (
                f"; layers of one depth have similarity {format_fixed(float(np.nanmean(self._diagonal)))} "
                f"(shuffled {format_fixed(self.shuffled_mean)})"
            )
        if self.n_live:
            chance = round(ABOVE * self.n_live)
            said += (
                f"; {self.n_paired:,} of {self.n_live:,} units have a partner above chance ({chance:,} would by chance)"
            )
        return f"{said}."

    @property
    def _diagonal(self) -> np.ndarray:
        rows, columns = self.similarity.shape
        at = np.arange(rows)
        cells: np.ndarray = self.similarity[at, np.round(at * max(columns - 1, 0) / max(rows - 1, 1)).astype(int)]
        return cells

    @property
    def best(self) -> tuple[np.ndarray, np.ndarray]:
        """The most correlated unit of the second for each unit of the first, ``(unit,)``, and that correlation."""
        if not self.correlation.size:
            return np.full(len(self.chance), -1), np.full(len(self.chance), np.nan)
        site = np.where(np.isfinite(self.correlation), self.correlation, -np.inf).argmax(1)
        rows, starts = np.arange(len(site)), self.starts(1)
        partner = self.partner[rows, site]
        return np.where(partner >= 0, partner + starts[site], -1), self.correlation[rows, site]

    @property
    def threshold(self) -> float:
        """The correlation above which a partner is above chance: 97.5 % of shuffled best partners lie below."""
        known = self.chance[np.isfinite(self.chance)]
        return float(np.quantile(known, 1 - ABOVE)) if len(known) else math.nan

    @property
    def n_live(self) -> int:
        """Units of the first that change at all over the text, and so can have a partner."""
        return int(np.isfinite(self.best[1]).sum())

    @property
    def n_paired(self) -> int:
        """Units of the first whose partner is above chance."""
        return int((self.best[1] > self.threshold).sum())

    def starts(self, side: int) -> np.ndarray:
        """Return where each site's units begin among all of a side."""
        return np.cumsum([0, *self.units[side].values()])[:-1]

    def key(self, side: int, unit: int) -> str:
        """Return a unit's key, without a subject, from its number among all of a side."""
        starts = self.starts(side)
        site = int(np.searchsorted(starts, unit, "right")) - 1
        return f"{list(self.units[side])[site]}/neurons/{unit - int(starts[site])}"

    def pairs(
        self, first: str | None = None, second: str | None = None, top: int | None = None
    ) -> list[tuple[int, int, float, bool]]:
        """Return units with their most correlated partner, the highest correlation first.

        Args:
            first: only units of this site.
            second: only partners of this site; of all by default.
            top: how many.

        Returns:
            list: number among the units of the first, of the second, correlation, and whether each is the other's best.

        Raises:
            PatchclampError: a site that was not compared.
        """
        for side, site in enumerate((first, second)):
            if site is not None and site not in self.units[side]:
                raise PatchclampError(
                    expected=f"a site whose units were compared: {', '.join(list(self.units[side])[:6])}",
                    got=repr(site[:80]),
                    remedy="Name one of these.",
                )
        if second is None:
            partner, r = self.best
        else:
            column = list(self.units[1]).index(second)
            start = self.starts(1)[column]
            partner, r = self.partner[:, column] + start, self.correlation[:, column]
        rows = np.arange(len(r))
        if first is not None:
            start, width = self.starts(0)[list(self.units[0]).index(first)], self.units[0][first]
            rows = rows[start : start + width]
        rows = rows[np.isfinite(r[rows])]
        rows = rows[np.argsort(-r[rows], kind="stable")][:top]
        return [(int(i), int(partner[i]), float(r[i]), self._is_mutual(int(i), int(partner[i]))) for i in rows]

    def _is_mutual(self, unit: int, partner: int) -> bool:
        site = int(np.searchsorted(self.starts(0), unit, "right")) - 1
        return bool(self.back[partner, site] == unit - self.starts(0)[site])

    def moved_units(self, top: int | None = None) -> list[tuple[str, dict[str, float]]]:
        """Return the units that both have by how much what they write changed, the most changed first.

        Args:
            top: how many.

        Returns:
            list: key without subject, and what was measured by the names of ``MOVED``.
        """
        keys = [f"{site}/neurons/{i}" for site in self.moved_sites for i in range(self.units[0][site])]
        order = np.argsort(-self.moved[:, MOVED.index("change")], kind="stable")[:top]
        return [(keys[i], dict(zip(MOVED, self.moved[i].tolist(), strict=True))) for i in order]

    def table(self, top: int | None = None) -> Table:
        """Return the layers of the first as a table, each with the layer of the second that is most alike."""
        rows = []
        for i, site in enumerate(self.layers[0][:top]):
            j = int(np.nanargmax(self.similarity[i])) if np.isfinite(self.similarity[i]).any() else 0
            cell = (self.similarity[i, j], self.low[i, j], self.high[i, j])
            rows.append((site, self.layers[1][j], *map(float, cell), self.shuffled_mean))
        columns = ("layer", "most alike", "similarity", "low", "high", "shuffled")
        drawn = ("layer", "similarity")
        return Table(self.sentence, columns, tuple(rows), len(self.layers[0]), drawn, ("low", "high"))

    def to_json(self, limit: int = 20) -> dict[str, Any]:
        """Return everything as JSON-ready data; of units the first ``limit``."""
        pairs = [
            {"unit": self.key(0, i), "partner": self.key(1, j), "r": r, "mutual": mutual}
            for i, j, r, mutual in self.pairs(top=limit)
        ]
        moved = [
            {"unit": key, "name": name_unit(key), **{name: finite(value) for name, value in row.items()}}
            for key, row in self.moved_units(limit)
        ]
        grids = {
            name: [[finite(float(x)) for x in row] for row in getattr(self, name)]
            for name in ("similarity", "low", "high")
        }
        head = self._head()
        for name in ("texts", "provenance"):
            head.pop(name)
        return {
            "sentence": self.sentence, **head, **grids, "pairs": pairs, "moved": moved, "paired": self.n_paired,
            "live": self.n_live, "threshold": finite(self.threshold), "changes": head["changes"][:limit],
            "provenance": self.provenance.to_json(),
        }  # fmt: skip

    # -- files --------------------------------------------------------------------------------------------------------

    def _head(self) -> dict[str, Any]:
        return {
            "names": list(self.names),
            "hashes": list(self.hashes),
            "n_tokens": self.n_tokens,
            "layers": [list(side) for side in self.layers],
            "shuffled": asdict(self.shuffled),
            "shuffled_mean": self.shuffled_mean,
            "n_conditions": self.n_conditions,
            "units": [[[site, n] for site, n in side.items()] for side in self.units],
            "n_sampled": self.n_sampled,
            "moved_sites": list(self.moved_sites),
            "divergence": self.divergence.to_json(),
            "agreement": self.agreement,
            "random": list(self.random),
            "changes": [asdict(one) for one in self.changes],
            "texts": [asdict(one) for one in self.texts],
            "lens": self.lens.to_json(),
            "cautions": list(self.cautions),
            "provenance": self.provenance.to_json(),
        }

    def parts(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return everything as JSON-ready data and arrays, for a file."""
        names = ("similarity", "low", "high", "partner", "correlation", "back", "chance", "moved")
        return self._head(), {name: np.ascontiguousarray(getattr(self, name)) for name in names}

    @classmethod
    def of_parts(cls, head: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> "ModelComparison":
        """Read what ``parts`` gave.

        Raises:
            PatchclampError, ValueError, TypeError, KeyError: it is something else.
        """
        first, second = (
            {read_word(site): read_whole(n) for site, n in map(read_list, read_list(side))} for side in head["units"]
        )
        one, other = (tuple(map(read_word, read_list(side))) for side in head["layers"])
        made = cls(
            _two_words(head["names"]), _two_words(head["hashes"]), read_whole(head["n_tokens"]), (one, other),
            arrays["similarity"], arrays["low"], arrays["high"], Interval(**read_mapping(head["shuffled"])),
            read_number(head["shuffled_mean"]), read_whole(head["n_conditions"]), (first, second), arrays["partner"],
            arrays["correlation"], arrays["back"], arrays["chance"], read_whole(head["n_sampled"]),
            tuple(map(read_word, read_list(head["moved_sites"]))), arrays["moved"],
            Estimate.from_json(head["divergence"]), read_number(head["agreement"]),
            tuple(map(read_number, read_list(head["random"]))), tuple(map(_read_change, read_list(head["changes"]))),
            tuple(map(_read_text, read_list(head["texts"]))), LensDifference.from_json(head["lens"]),
            tuple(map(read_word, read_list(head["cautions"]))),
            Provenance.from_json(head["provenance"]),
        )  # fmt: skip
        made._check_partners()
        return made

    def _check_partners(self) -> None:
        for side, table in ((1, self.partner), (0, self.back)):
            widths = np.array(list(self.units[side].values()), dtype=np.int64)
            if table.size and ((table < -1) | (table >= widths)).any():
                raise ValueError("partners that are no units")


def _two_words(values: Any) -> tuple[str, str]:
    one, other = map(read_word, read_list(values))
    return one, other


def _read_change(data: Any) -> TokenChange:
    one = read_mapping(data)
    return TokenChange(
        read_word(one["token"]), read_whole(one["id"]), read_number(one["first"]), read_number(one["second"]),
        read_word(one["context"]), read_whole(one["stimulus"]), read_whole(one["position"]),
    )  # fmt: skip


def _read_text(data: Any) -> ComparedText:
    one = read_mapping(data)
    numbers: Sequence[Any] = read_numbers(read_list(one["divergence"]))
    return ComparedText(
        tuple(map(read_word, read_list(one["tokens"]))), tuple(map(read_whole, read_list(one["ids"]))),
        tuple(map(float, numbers)),
        tuple(tuple(map(_read_change, read_list(row))) for row in read_list(one["changes"])),
        read_whole(one["stimulus"]), read_whole(one["start"]),
    )  # fmt: skip


def _share(x: float) -> str:
    return f"{x:.1%}" if 0.9 < x < 1 else f"{x:.0%}"
