"""Score descriptions beside the same ones given to other units, and beside random ones."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.corpus import Corpus
from patchclamp.core.descriptions import Descriptions, ScoreColumns
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate
from patchclamp.core.exemplars import Exemplars
from patchclamp.core.method import Method
from patchclamp.core.method_files import find_method
from patchclamp.core.provenance import Provenance
from patchclamp.core.stats import Interval, mean_interval
from patchclamp.core.subject import Progress
from patchclamp.core.table import Table, Tabular
from patchclamp.describe.counted import Counted
from patchclamp.describe.judge import Chooser, Encoder, Judge, Reader
from patchclamp.describe.judges.rule import RuleJudge
from patchclamp.describe.readers import ModelReader, OverlapChooser, StateEncoder
from patchclamp.describe.rules import Token
from patchclamp.describe.scoring import find_place
from patchclamp.describe.windows import ShownWindows, iterate_units

ROWS = ("described", "shuffled", "random")
"""Descriptions as they are; the same given to other units; the names of tokens drawn from the windows."""


@dataclass(frozen=True)
class ScoreRow:
    """Hold what a score is of one set of descriptions.

    Args:
        score: its name.
        row: one of ``ROWS``.
        estimate: the mean over the units that have a score, with its interval over units and, as null, chance.
        missing: answers that could not be read.
        answers: answers in all, those included.
    """

    score: str
    row: str
    estimate: Estimate
    missing: int
    answers: int

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON-ready data."""
        counts = {"missing": self.missing, "answers": self.answers}
        return {"score": self.score, "row": self.row, **self.estimate.to_json(), **counts}


@dataclass(frozen=True)
class ScoringCost:
    """Say what a scorer took, all rows together.

    Args:
        scorer: its name.
        calls: of judge, reader, encoder or chooser.
        windows: that these were shown, each as often as it was.
        tokens: of the windows; words of what was shown as text.
        seconds: from begin to end.
    """

    scorer: str
    calls: Natural
    windows: Natural
    tokens: Natural
    seconds: float

    def plus(self, other: "ScoringCost") -> "ScoringCost":
        """Return the cost of both."""
        names = ("calls", "windows", "tokens", "seconds")
        return ScoringCost(self.scorer, *(getattr(self, name) + getattr(other, name) for name in names))

    def to_json(self) -> dict[str, Any]:
        """Return the cost as JSON-ready data."""
        return {"scorer": self.scorer, "calls": self.calls, "windows": self.windows, "tokens": self.tokens} | {
            "seconds": round(self.seconds, 3)
        }


@checked
@dataclass(frozen=True, eq=False, repr=False)
class ScoredDescriptions(Tabular):
    """Hold descriptions with their scores, and what the scores are of descriptions that know nothing.

    Args:
        descriptions: with ``scores``.
        controls: ``shuffled`` and ``random`` → the same scores of such descriptions of the same units.
        costs: of each scorer.
        provenance: what scored them.
    """

    descriptions: Descriptions
    controls: Mapping[str, Mapping[str, ScoreColumns]]
    costs: tuple[ScoringCost, ...] = ()
    provenance: Provenance = field(default_factory=Provenance)

    @cached_property
    def rows(self) -> tuple[ScoreRow, ...]:
        """For each score the means over units: of the descriptions, of shuffled and of random ones."""
        held = {"described": self.descriptions.scores, **self.controls}
        return tuple(
            _mean(name, row, held[row][name])
            for name in self.descriptions.scores
            for row in ROWS
            if name in held.get(row, {})
        )

    @classmethod
    def concatenate(cls, parts: "Iterable[ScoredDescriptions]") -> "ScoredDescriptions":
        """Return the scored descriptions of several groups of units, one after another; costs are added.

        Raises:
            PatchclampError: no parts, parts that were scored otherwise, or a unit in several.
        """
        some = list(parts)
        descriptions = Descriptions.concatenate([one.descriptions for one in some])
        controls = {
            row: {name: ScoreColumns.concatenate([one.controls[row][name] for one in some]) for name in columns}
            for row, columns in some[0].controls.items()
        }
        costs: dict[str, ScoringCost] = {}
        for cost in (cost for one in some for cost in one.costs):
            costs[cost.scorer] = costs[cost.scorer].plus(cost) if cost.scorer in costs else cost
        return cls(descriptions, controls, tuple(costs.values()), some[0].provenance)

    def row(self, score: str, row: str = "described") -> ScoreRow:
        """Return one row.

        Raises:
            PatchclampError: a score or row that there is not.
        """
        for one in self.rows:
            if (one.score, one.row) == (score, row):
                return one
        raise PatchclampError(
            expected=f"a score among {', '.join(dict.fromkeys(one.score for one in self.rows)) or 'none'}, "
            f"and a row among {', '.join(ROWS)}",
            got=f"{score}, {row}",
            remedy="Score with the scorer that measures it.",
        )

    def table(self, top: int | None = None) -> Table:
        """Return the means as a table."""
        rows = tuple(
            (
                one.score,
                one.row,
                one.estimate.value,
                one.estimate.low,
                one.estimate.high,
                one.estimate.n,
                one.missing,
                one.answers,
            )
            for one in self.rows[:top]
        )
        columns = ("score", "descriptions", "mean", "low", "high", "units", "missing", "answers")
        title = f"{len(self.descriptions):,} descriptions by {self.descriptions.author or 'nobody named'}, scored"
        return Table(title, columns, rows, len(self.rows), ("score", "mean"))

    def to_json(self, limit: Natural = 20) -> dict[str, Any]:
        """Return rows, costs and the first ``limit`` descriptions as JSON-ready data."""
        return {
            "rows": [one.to_json() for one in self.rows],
            "costs": [one.to_json() for one in self.costs],
            "descriptions": self.descriptions.to_json(limit),
            "provenance": self.provenance.to_json(),
        }


@checked
def score_descriptions(
    subject: Any,
    exemplars: Exemplars | Sequence[Exemplars],
    descriptions: Descriptions,
    *,
    scorers: Sequence[str | Method] = ("detection", "fuzzing"),
    judge: Judge | None = None,
    reader: Reader | None = None,
    encoder: Encoder | None = None,
    chooser: Chooser | None = None,
    corpus: Corpus | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    seed: Natural = 0,
    progress: Progress | None = None,
) -> ScoredDescriptions:
    """Score descriptions by several scorers, each also on shuffled and on random descriptions.

    Args:
        subject: the network that is described.
        exemplars: windows that the author of the descriptions was not shown, of one site or one after another of
            several.
        descriptions: of units of these sites.
        scorers: scorers of the room ``describe`` by name, or your own.
        judge: who answers detection, fuzzing and simulation; by default what matches rules.
        reader: who reads for surprisal and intervention; the subject by default.
        encoder: who encodes for embedding; the subject's own states by default.
        chooser: who finds intruders; by default what counts common tokens.
        corpus: labelled text or images that the windows are of.
        options: name of a scorer → its options by name.
        seed: of everything random.
        progress: called with units done and in all, over all scorers and rows.

    Returns:
        ScoredDescriptions: the descriptions with one score per unit and measure; for each measure the means over units
        of the descriptions, of the same ones each given to another unit of its site, and of names of random tokens of
        the windows.

    Raises:
        PatchclampError: an unknown scorer or option, no scorer, exemplars that show no described unit, or what the
            scorers raise.

    Cost: three times the scorers.

    Example:
        >>> from patchclamp.calibrate.described import planted_rules
        >>> planted = planted_rules("language-gpt2", "tokens", n_units=4)
        >>> found = score_descriptions(planted.subject, planted.exemplars, planted.descriptions, scorers=["detection"])
        >>> found.row("detection").estimate.value
        1.0
    """
    if not scorers:
        raise PatchclampError(expected="a scorer at least", got="none", remedy="`patchclamp methods --room describe`.")
    methods = [find_method(name, "describe", kind="scorer") for name in scorers]
    given = [method.make_options((options or {}).get(method.name, {})) for method in methods]
    sides = [exemplars] if isinstance(exemplars, Exemplars) else list(exemplars)
    asked = {"judge": judge, "reader": reader, "encoder": encoder, "chooser": chooser}
    asked = {
        name: _DEFAULTS[name](subject) if one is None else one for name, one in asked.items() if _take(methods, name)
    }
    others = {row: make(subject, sides, descriptions, seed) for row, make in _OTHERS.items()}
    scored = {row: dict(descriptions.scores) if row == "described" else {} for row in ROWS}
    done, total = 0, len(methods) * len(ROWS) * len(sides)
    costs = []
    for method, chosen in zip(methods, given, strict=True):
        counted = Counted()
        nouns: dict[str, Any] = {name: counted.of(one) for name, one in asked.items() if name in method.takes}
        if corpus is not None and "corpus" in method.takes:
            nouns["corpus"] = corpus
        begun = time.perf_counter()
        for row in ROWS:
            one = replace(others.get(row, descriptions), scores=scored[row])
            for side in sides:
                one = method(subject, side, one, options=chosen, seed=seed, **nouns)
                done += 1
                if progress is not None:
                    progress(done, total)
            scored[row] = dict(one.scores)
        calls, windows, tokens = counted.counts
        costs.append(ScoringCost(method.name, calls, windows, tokens, time.perf_counter() - begun))
    # What was scored before stays with the descriptions, and has no controls here.
    found = replace(descriptions, scores=scored["described"])
    return ScoredDescriptions(found, {row: scored[row] for row in _OTHERS}, tuple(costs), descriptions.provenance)


def _take(methods: Sequence[Method], name: str) -> bool:
    return any(name in method.takes for method in methods)


def _mean(name: str, row: str, column: ScoreColumns) -> ScoreRow:
    """Return the mean over units that have a score; its null is chance."""
    held = column.value[~np.isnan(column.value)]
    interval = mean_interval(held) if len(held) > 1 else None
    chance = Interval(column.chance, column.chance, 0.95, "chance")
    value = float(held.mean()) if len(held) else np.nan
    missing = int(column.missing.sum())
    estimate = Estimate(value, interval, len(held), column.unit, chance)
    return ScoreRow(name, row, estimate, missing, missing + int(column.n.sum()))


def shuffle_descriptions(
    _subject: Any, exemplars: Sequence[Exemplars], descriptions: Descriptions, seed: int
) -> Descriptions:
    """Return each described and shown unit with the description of another one of its site, none with its own text.

    Where all units of a site have one text, nothing can be shuffled: then they have no description.

    Returns:
        Descriptions: of the same units, without scores.

    Example:
        >>> from patchclamp.describe import describe
        >>> from patchclamp.calibrate.corpora import make_evidence
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> train, test = make_evidence(cat, "blocks.0.mlp.act")
        >>> words = describe(cat, train, method="rule")
        >>> other = shuffle_descriptions(cat, [test], words, 0)
        >>> [other.text(i) == words.text(i) for i in range(4)]
        [False, False, False, False]
    """
    terms, weights = descriptions.terms.copy(), descriptions.weights.copy()
    for side in exemplars:
        places = np.array(shown_places(side, descriptions), dtype=np.int64)
        texts = [descriptions.text(int(i)) for i in places]
        source = derange(texts, np.random.default_rng(seed))
        terms[places], weights[places] = descriptions.terms[places[source]], descriptions.weights[places[source]]
        terms[places[[texts[i] == texts[j] for i, j in enumerate(source)]]] = -1
    return replace(descriptions, terms=terms, weights=weights, scores={})


def random_descriptions(
    subject: Any, exemplars: Sequence[Exemplars], descriptions: Descriptions, seed: int
) -> Descriptions:
    """Return each shown unit with the name of a token that is drawn among the different tokens of the windows.

    Returns:
        Descriptions: of the same units, without scores.

    Example:
        >>> from patchclamp.describe import describe
        >>> from patchclamp.calibrate.corpora import make_evidence
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> train, test = make_evidence(cat, "blocks.0.mlp.act")
        >>> names = random_descriptions(cat, [test], describe(cat, train, method="rule"), 0)
        >>> [names.text(i).startswith("the token") for i in range(4)]
        [True, True, True, True]
    """
    sentences: dict[str, int] = {}
    terms = np.full((len(descriptions), 1), -1, dtype=np.int32)
    draw = np.random.default_rng(seed)
    for side in exemplars:
        shown = ShownWindows(subject, side)
        known = sorted({token for i in np.unique(side.stimulus).tolist() for token in shown.kept_tokens(i)})
        for place in shown_places(side, descriptions):
            sentence = Token(known[draw.integers(len(known))]).sentence
            terms[place, 0] = sentences.setdefault(sentence, len(sentences))
    weights = np.ones(terms.shape)
    return replace(descriptions, terms=terms, weights=weights, vocabulary=tuple(sentences), scores={})


def derange(texts: Sequence[str], draw: np.random.Generator) -> np.ndarray:
    """Return for each place another one whose text differs, each place once, as far as that can be.

    Texts that are alike stand together in an order of chance, and everything moves on by as many places as the largest
    such group has: so none gets its own text unless one text fills more than half of the places.
    """
    order = draw.permutation(len(texts))
    names = [texts[i] for i in order]
    groups = sorted(set(names), key=lambda name: names.index(name))
    together = np.array([i for name in groups for i in order if texts[i] == name], dtype=np.int64)
    step = max((names.count(name) for name in groups), default=0)
    source = np.empty(len(texts), dtype=np.int64)
    source[together] = np.roll(together, step)
    return source


def shown_places(exemplars: Exemplars, descriptions: Descriptions) -> list[int]:
    """Return the places of the units that are both described and shown, in the order of the exemplars."""
    places = (find_place(descriptions.index, rows.key) for rows in iterate_units(exemplars))
    return [place for place in places if place >= 0 and descriptions.text(place)]


_DEFAULTS: Mapping[str, Callable[[Any], Any]] = {
    "judge": lambda _subject: RuleJudge(),
    "reader": ModelReader,
    "encoder": StateEncoder,
    "chooser": lambda _subject: OverlapChooser(),
}
"""Who answers where nobody is given."""
_OTHERS: Mapping[str, Callable[[Any, Sequence[Exemplars], Descriptions, int], Descriptions]] = {
    "shuffled": shuffle_descriptions,
    "random": random_descriptions,
}
