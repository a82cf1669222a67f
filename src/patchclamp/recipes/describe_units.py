"""Describe and score every unit of a model: evidence from a text, words from one half of it, scores on the other."""

import json
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from patchclamp.core.arguments import Natural, Positive, checked
from patchclamp.core.basis import Basis
from patchclamp.core.corpus import Corpus
from patchclamp.core.descriptions import Descriptions, ScoreColumns
from patchclamp.core.disk import hold_folder, read_text_file, refuse_occupied, write_file
from patchclamp.core.errors import PatchclampError, report_damage
from patchclamp.core.exemplars import ACTIVE, KINDS, Exemplars
from patchclamp.core.json_text import check_seal, parse, read_number, read_whole, seal
from patchclamp.core.method_files import find_method
from patchclamp.core.resume import refuse_other_plan
from patchclamp.core.scoring import FailingWindow, ScorerRow, Scoring
from patchclamp.core.subject import Progress
from patchclamp.describe.chat import Chat
from patchclamp.describe.evidence import Evidence, EvidenceGroup, EvidenceOptions, draw_evidence, plan_evidence
from patchclamp.describe.evidence.draw import cut_corpus
from patchclamp.describe.evidence.units import choose_units, watch_units
from patchclamp.describe.judge import Judge, Window
from patchclamp.describe.judges.llm import LLMJudge
from patchclamp.describe.judges.rule import RuleJudge
from patchclamp.describe.rules import parse_rule
from patchclamp.describe.score import ScoredDescriptions, ScoringCost, score_descriptions
from patchclamp.describe.windows import ShownWindows, iterate_units
from patchclamp.subjects.corpora import read_corpus
from patchclamp.subjects.labelled import is_labelled

SCORERS = ("detection", "fuzzing")
MOST_FAILURES = 5
"""Failing windows that are kept of a unit."""
THRESHOLD = 0.5
"""Above this probability a judge says that a window fits."""
WINDOWS_PER_CALL, CONTROLS = 5, 3
"""Windows in one question to a language model; descriptions, shuffled ones and random ones are scored."""
UNIT_S, SCORER_S = 0.005, 0.02
"""Seconds in which a rule is mined, and one is scored by one scorer together with both controls: about."""
PLAN, EVIDENCE, GROUPS, ANSWERS = "plan.json", "evidence", "groups", "answers"
UNHEARD = ("answers", "base_url", "budget_tokens", "concurrency", "timeout")
"""Options of a language model that change no answer: a run may go on with others, and at another address."""
AGAIN = "Describe again in another folder."
NO_WORDS = "the method found none"
"""Why a unit with evidence has no description."""


class NoEvidence(PatchclampError):
    """No unit that was asked for fires, and is silent, in enough windows."""


@dataclass(frozen=True)
class DescriptionPlan:
    """Say what describing will do before it begins.

    Args:
        units: that are looked at.
        windows: of the text.
        tokens: of the text, each shown once in each pass.
        passes: over the text.
        memory_bytes: held at most, besides the model and one batch.
        disk_bytes: written at most before the first pass' numbers are dropped.
        method: who describes.
        scorers: who scores.
        calls: of a language model at most; 0 of rules.
        chat_tokens: that it reads and writes, about.
        seconds: all of it, about; None where nobody has measured.
    """

    units: int
    windows: int
    tokens: int
    passes: int
    memory_bytes: int
    disk_bytes: int
    method: str
    scorers: tuple[str, ...]
    calls: int
    chat_tokens: int
    seconds: float | None

    def to_json(self, _limit: Natural = 20) -> dict[str, Any]:
        """Return the plan as JSON-ready data."""
        return {**asdict(self), "scorers": list(self.scorers)}


@dataclass(frozen=True, eq=False)
class DescribedUnits:
    """Hold the descriptions of a model's units, with how they hold.

    Args:
        descriptions: of all units that could be described, with scores.
        scoring: methods, rows beside controls, what it cost, and why units have no description.
        failures: by key without subject, windows that the description gets wrong, the worst first.
    """

    descriptions: Descriptions
    scoring: Scoring
    failures: Mapping[str, tuple[FailingWindow, ...]] = field(repr=False)


@checked
def plan_description(
    subject: Any,
    corpus: Any,
    units: Any = None,
    *,
    method: str = "rule",
    scorers: Sequence[str] = SCORERS,
    evidence: EvidenceOptions | None = None,
    bases: Mapping[str, Basis] | None = None,
    batch_size: Positive = 32,
) -> DescriptionPlan:
    """Return what ``describe_units`` will do, for the same arguments.

    Args:
        subject: the model.
        corpus: a Corpus, or the path of a text.
        units: patterns of sites or keys; by default all neurons and heads, or the features of ``bases``.
        method: who describes.
        scorers: who scores.
        evidence: which windows are drawn.
        bases: site that is written to its basis of features.
        batch_size: windows per forward pass.

    Returns:
        DescriptionPlan: counts and bytes, which are upper bounds, and about how long it takes.

    Raises:
        PatchclampError: an unknown method, scorer, site or unit, or nothing to read.

    Source: 2410.13928, five windows in one question; the bounds are ours.

    Cost: one tokenisation of the text, and two forward passes of one batch.

    Example:
        >>> import tempfile
        >>> from patchclamp.loaders import load
        >>> story = Path(tempfile.mkdtemp()) / "story.txt"
        >>> _ = story.write_text("the old cat sat on the mat. " * 40)
        >>> plan_description(load("organism:cat"), story, "blocks.0.mlp.act").units
        16
    """
    how = evidence or EvidenceOptions()
    _check_names(method, scorers)
    plan = plan_evidence(subject, corpus, units, how, bases=bases, batch_size=batch_size)
    calls = tokens = 0
    if method == "llm":
        # One question to describe; five windows in each of a scorer, for the words and for two controls beside them.
        per_scorer = -(-(how.n_test + how.n_negative * len(how.negatives)) // WINDOWS_PER_CALL)
        calls = plan.units * (1 + CONTROLS * per_scorer * len(scorers))
        tokens = plan.units * how.window * (how.n_train + CONTROLS * WINDOWS_PER_CALL * per_scorer * len(scorers))
    pace = _seconds_per_token(subject, corpus, units, how, bases, batch_size)
    seconds = None if calls else plan.passes * plan.tokens * pace + plan.units * (UNIT_S + SCORER_S * len(scorers))
    return DescriptionPlan(
        plan.units, plan.windows, plan.tokens, plan.passes, plan.memory_bytes, plan.disk_bytes, method,
        tuple(scorers), calls, tokens, seconds,
    )  # fmt: skip


@checked
def describe_units(
    subject: Any,
    corpus: Any,
    units: Any = None,
    *,
    folder: str | Path,
    method: str = "rule",
    scorers: Sequence[str] = SCORERS,
    judge: Judge | None = None,
    evidence: EvidenceOptions | None = None,
    bases: Mapping[str, Basis] | None = None,
    batch_size: Positive = 32,
    seed: Natural = 0,
    resume: bool = False,
    progress: Progress | None = None,
    text_progress: Progress | None = None,
    **options: Any,
) -> DescribedUnits:
    """Describe units from one half of a text, and score the words on the other half.

    Evidence is drawn for all units in two passes over the text. Then units are described and scored group by group, so
    that memory holds one group; what is done lies in the folder, and is neither computed nor paid for again.

    Args:
        subject: the model.
        corpus: a Corpus, or the path of a text; of labelled text, rules about labels are found too.
        units: patterns of sites or keys; by default all neurons and heads, or the features of ``bases``.
        folder: a new or empty folder for what is done on the way.
        method: who describes, a method of the room describe that takes exemplars.
        scorers: who scores, cards of kind scorer; none to score nothing.
        judge: who answers the scorers; by default a rule matcher, or of method ``llm`` the same language model. Its
            ``budget_tokens`` are those of descriptions and scores together.
        evidence: which windows are drawn.
        bases: site that is written to its basis of features.
        batch_size: windows per forward pass.
        seed: of everything random.
        resume: go on with an interrupted run.
        progress: called with units done and in all.
        text_progress: called with tokens done and in all, of both passes.
        options: of the method.

    Returns:
        DescribedUnits: descriptions with scores, rows of scores beside controls, and windows that the words get wrong.

    Raises:
        PatchclampError: an unknown method, scorer, site or unit, no unit with evidence, or a resume that does not fit.

    Source: 2410.13928, how windows are drawn and descriptions scored.

    Cost: two forward passes over the text; then what the method and the scorers take for each unit. Disk as
    ``draw_evidence``, and some 2 kB per unit.

    Example:
        >>> import tempfile
        >>> from patchclamp.loaders import load
        >>> place = Path(tempfile.mkdtemp())
        >>> _ = (place / "story.txt").write_text("the old cat sat on the mat. a dog ran to the red house. " * 40)
        >>> how = EvidenceOptions(window=6, least=1)
        >>> cat, unit = load("organism:cat"), ["blocks.0.mlp.act/neurons/7"]
        >>> found = describe_units(cat, place / "story.txt", unit, folder=place / "work", evidence=how)
        >>> found.descriptions.text(0)
        'the token " cat"'
    """
    _check_names(method, scorers)
    place, how = Path(folder), evidence or EvidenceOptions()
    if method == "llm":
        options = {"answers": place / ANSWERS, **options}
    who = judge or _usual_judge(method, options)
    plan = {
        "method": method,
        "options": {name: str(value) for name, value in sorted(options.items()) if name not in UNHEARD},
        "scorers": list(scorers),
        "judge": who.name,
        "seed": seed,
    }
    with hold_folder(place):
        _begin(place, plan, resume=resume)
        drawn = draw_evidence(
            subject, corpus, units, how, folder=place / EVIDENCE, bases=bases, seed=seed, batch_size=batch_size,
            resume=resume, progress=text_progress,
        )  # fmt: skip
        work = _Work(
            subject, _labelled_corpus(corpus), method, options, tuple(scorers), who, seed, _statement(drawn, how)
        )
        n_units, done = sum(len(drawn.units(site)) for site in drawn.sites), 0
        for number, group in enumerate(drawn):
            path = place / GROUPS / f"{number:05d}"
            if not path.with_suffix(".json").is_file():
                work.describe(group, path, _from(progress, done, n_units))
            done += len(group.units)
            if progress is not None:
                progress(done, n_units)
        parts = [_read_group(path) for path in sorted((place / GROUPS).glob("*.json"))]
    return _join(parts, drawn, method)


# -- one group of units -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Group:
    """What was done for one group of units; nothing where none has evidence."""

    scored: ScoredDescriptions | None
    failures: dict[str, tuple[FailingWindow, ...]]
    seconds: float
    calls: int
    tokens: int


class _Work:
    """Describe and score groups of units; everything is on disk when one is done."""

    def __init__(
        self,
        subject: Any,
        corpus: Corpus | None,
        method: str,
        options: Mapping[str, Any],
        scorers: tuple[str, ...],
        judge: Judge,
        seed: int,
        statement: str,
    ) -> None:
        self.subject, self.corpus, self.method, self.options = subject, corpus, method, options
        self.scorers, self.judge, self.seed, self.statement = scorers, judge, seed, statement
        self.calls = self.tokens = 0

    def describe(self, group: EvidenceGroup, path: Path, progress: Progress) -> None:
        """Describe a group's units, score the words, and keep both."""
        began, calls, tokens = time.monotonic(), self.calls, self.tokens
        scored: ScoredDescriptions | None = None
        failures: dict[str, tuple[FailingWindow, ...]] = {}
        if len(group.train):
            words = self._words(group.train, progress)
            scored = ScoredDescriptions(words, {})
        described_s = time.monotonic() - began
        if scored is not None and self.scorers and any(map(scored.descriptions.text, range(len(scored.descriptions)))):
            judge = _Remembering(self.judge)
            scored = score_descriptions(
                self.subject, group.test, scored.descriptions, scorers=self.scorers, judge=judge, corpus=self.corpus,
                seed=self.seed,
            )  # fmt: skip
            shown = ShownWindows(self.subject, group.test, self.corpus)
            failures = find_failures(scored.descriptions, group.test, shown, judge.answers)
        if scored is not None:
            shutil.rmtree(path, ignore_errors=True)  # what a kill left
            controls = {f"{row}/{name}": one for row, some in scored.controls.items() for name, one in some.items()}
            kept = replace(scored.descriptions, scores={**scored.descriptions.scores, **controls})
            kept.save(path)
        head = {
            "described": scored is not None,
            "failures": {key: [_window_to_json(one) for one in some] for key, some in failures.items()},
            "seconds": described_s,
            "calls": self.calls - calls,
            "tokens": self.tokens - tokens,
            "costs": [asdict(cost) for cost in scored.costs] if scored else [],
        }
        path.parent.mkdir(exist_ok=True)
        write_file(path.with_suffix(".json"), seal(head))

    def _words(self, exemplars: Exemplars, progress: Progress) -> Descriptions:
        chosen = find_method(self.method, "describe")
        nouns: dict[str, Any] = {"corpus": self.corpus} if self.corpus is not None and "corpus" in chosen.takes else {}
        options = dict(self.options)
        if self.budget is not None:
            options["budget_tokens"] = max(self.budget - self._tokens_of_judge() - self.tokens, 1)
        words: Descriptions = chosen(self.subject, exemplars, **nouns, seed=self.seed, progress=progress, **options)
        usage = words.provenance.extra.get("usage", {})
        self.calls += int(usage.get("calls", 0))
        self.tokens += int(usage.get("tokens_in", 0)) + int(usage.get("tokens_out", 0))
        if self.budget is not None and isinstance(self.judge, LLMJudge):
            self.judge.chat.budget_tokens = max(self.budget - self.tokens, 0)
        return replace(words, evidence=(self.statement,))

    @property
    def budget(self) -> int | None:
        """Tokens of a language model that describing and scoring may take together."""
        return self.options.get("budget_tokens")

    def _tokens_of_judge(self) -> int:
        return self.judge.tokens if isinstance(self.judge, LLMJudge) else 0


def _read_group(path: Path) -> _Group:
    """Read what was done for one group.

    Raises:
        Damaged: it is not what was written.
    """
    with report_damage(path, AGAIN):
        data = read_text_file(path)
        head = parse(data)
        check_seal(head, data)
        scored = _read_scored(path.with_suffix(""), head["costs"]) if head["described"] else None
        failures = {key: tuple(map(_window_of_json, some)) for key, some in head["failures"].items()}
        calls, tokens = read_whole(head["calls"]), read_whole(head["tokens"])
        return _Group(scored, failures, read_number(head["seconds"]), calls, tokens)


def _read_scored(folder: Path, costs: Sequence[Mapping[str, Any]]) -> ScoredDescriptions:
    kept = Descriptions.load(folder)
    own = {name: column for name, column in kept.scores.items() if "/" not in name}
    controls: dict[str, dict[str, ScoreColumns]] = {}
    for name, column in kept.scores.items():
        row, _, score = name.rpartition("/")
        if row:
            controls.setdefault(row, {})[score] = column
    return ScoredDescriptions(replace(kept, scores=own), controls, tuple(ScoringCost(**cost) for cost in costs))


class _Remembering:
    """A judge whose answers about windows are remembered, so that those that are wrong can be shown."""

    def __init__(self, judge: Judge) -> None:
        self.judge, self.name = judge, judge.name
        self.answers: dict[tuple[str, Window], float | None] = {}

    def fits(self, description: str, windows: Sequence[Window]) -> list[float | None]:
        """Ask, and remember."""
        found = self.judge.fits(description, windows)
        self.answers.update(zip(((description, window) for window in windows), found, strict=True))
        return found

    def fits_marked(
        self, description: str, windows: Sequence[Window], marks: Sequence[Bool[np.ndarray, " token"]]
    ) -> list[float | None]:
        """Ask."""
        return self.judge.fits_marked(description, windows, marks)

    def simulate(self, description: str, windows: Sequence[Window]) -> list[Any]:
        """Ask."""
        return self.judge.simulate(description, windows)


def find_failures(
    words: Descriptions,
    exemplars: Exemplars,
    shown: ShownWindows,
    answers: Mapping[tuple[str, Window], float | None],
) -> dict[str, tuple[FailingWindow, ...]]:
    """Return by key the windows that descriptions get wrong: in turn one that is missed and one that is claimed.

    Args:
        words: the descriptions.
        exemplars: windows on which they were scored.
        shown: the same as a judge saw them.
        answers: what the judge said of each.

    Returns:
        dict[str, tuple[FailingWindow, ...]]: units that have any.
    """
    found: dict[str, tuple[FailingWindow, ...]] = {}
    for rows in iterate_units(exemplars):
        text = words.text(words.index.place(rows.key))
        if not text:
            continue
        sides: list[list[tuple[float, int]]] = [[], []]
        for side, some in enumerate((rows.active, rows.silent)):
            for row in some.tolist():
                said = answers.get((text, shown[int(exemplars.stimulus[row])]))
                if said is not None and (said > THRESHOLD) != (side == 0):
                    sides[side].append((-float(exemplars.value[row]) if side == 0 else -said, row))
        turns = zip_longest(*(sorted(side) for side in sides))
        order = [one[1] for pair in turns for one in pair if one is not None][:MOST_FAILURES]
        windows = [one for row in order if (one := _failing(text, exemplars, shown, row)) is not None]
        if windows:
            found[rows.key] = tuple(windows)
    return found


def _failing(text: str, exemplars: Exemplars, shown: ShownWindows, row: int) -> FailingWindow | None:
    """Return a row as a window to show; None of a picture."""
    stimulus = int(exemplars.stimulus[row])
    ids, picture = exemplars.stimuli.kind.label(exemplars.stimuli[stimulus])
    if picture or not len(ids):
        return None
    mark, rule = int(exemplars.position[row]), parse_rule(text)
    claimed = KINDS[exemplars.kind[row]] not in ACTIVE
    if claimed and rule is not None:
        places = np.flatnonzero(rule.fires(shown[stimulus]))
        mark = int(places[0]) if len(places) else mark
    return FailingWindow(
        np.asarray(ids, dtype=np.int32),
        np.asarray(exemplars.row_activations(row), dtype=np.float64),
        mark,
        int(exemplars.stimuli.numbers[stimulus]),
        0,
        "described, yet silent" if claimed else "fires, yet not described",
    )


def _window_to_json(one: FailingWindow) -> dict[str, Any]:
    acts = [float(f"{a:.4g}") for a in np.nan_to_num(one.acts).tolist()]
    plain = {name: getattr(one, name) for name in ("mark", "stimulus", "start", "reason")}
    return {"ids": one.ids.tolist(), "acts": acts, **plain}


def _window_of_json(data: Mapping[str, Any]) -> FailingWindow:
    ids, acts = np.array(data["ids"], dtype=np.int32), np.array(data["acts"], dtype=np.float64)
    return FailingWindow(ids, acts, **{name: data[name] for name in ("mark", "stimulus", "start", "reason")})


# -- all of them ------------------------------------------------------------------------------------------------------


def _join(parts: Sequence[_Group], drawn: Evidence, method: str) -> DescribedUnits:
    """Return what was done for all groups as one."""
    some = [part.scored for part in parts if part.scored is not None]
    skipped = Counter(drawn.skip_reasons().values())
    if not some:
        raise NoEvidence(
            expected="a unit with evidence",
            got=f"none of {skipped.total():,}: {drawn.count_skipped()}",
            remedy="Describe from a longer text, cut it into shorter windows (--window), or lower --least.",
        )
    # Of a group in which no unit has words, nothing is scored.
    measured = {name for one in some for name in one.descriptions.scores}
    scored = ScoredDescriptions.concatenate([one for one in some if set(one.descriptions.scores) == measured])
    words = scored.descriptions
    if silent := sum(not words.text(place) for place in range(len(words))):
        skipped[NO_WORDS] += silent
    skipped[NO_WORDS] += sum(len(one.descriptions) for one in some if set(one.descriptions.scores) != measured)
    scoring = Scoring(
        method,
        tuple(_row(scored, name) for name in words.scores),
        sum(part.calls for part in parts),
        sum(part.tokens for part in parts),
        sum(part.seconds for part in parts),
        {reason: n for reason, n in sorted(skipped.items()) if n},
    )
    return DescribedUnits(words, scoring, {key: own for part in parts for key, own in part.failures.items()})


def _row(scored: ScoredDescriptions, score: str) -> ScorerRow:
    """Return what one score says of the descriptions and of those beside them."""
    rows = {one.row: one for one in scored.rows if one.score == score}
    cost = next((cost for cost in scored.costs if cost.scorer == score), ScoringCost(score, 0, 0, 0, 0.0))
    return ScorerRow(
        score,
        scored.descriptions.scores[score].judge,
        rows["described"].estimate,
        rows["shuffled"].estimate if "shuffled" in rows else None,
        rows["random"].estimate if "random" in rows else None,
        rows["described"].missing / max(rows["described"].answers, 1),
        cost.calls,
        cost.tokens,
        cost.seconds,
    )


def _statement(drawn: Evidence, how: EvidenceOptions) -> str:
    """Return what the author of the words is shown of each unit."""
    kinds = ", ".join(how.negatives)
    silent = f", up to {how.n_negative} silent ones of each kind ({kinds})" if how.negatives and how.n_negative else ""
    return f"up to {how.n_train} windows in which it fires ({how.sampling}){silent}; evidence {drawn.hash[:16]}"


def _check_names(method: str, scorers: Sequence[str]) -> None:
    """Refuse unknown names before anything is read."""
    chosen = find_method(method, "describe")
    if "Exemplars" not in {noun.rstrip("?") for noun in chosen.to_json()["takes"].values()}:
        raise PatchclampError(
            expected="a method that describes from windows of text",
            got=method,
            remedy="Use 'rule' or 'llm'; `patchclamp describe MODEL` decodes weights.",
        )
    for name in scorers:
        find_method(name, "describe", kind="scorer")


def _usual_judge(method: str, options: Mapping[str, Any]) -> Judge:
    """Return who answers the scorers where nobody is named: whoever describes."""
    if method != "llm":
        return RuleJudge()
    given = {name: options[name] for name in ("budget_tokens", "concurrency", "timeout") if name in options}
    return LLMJudge(Chat(options.get("base_url", ""), options.get("llm", ""), folder=options["answers"], **given))


def _labelled_corpus(corpus: Any) -> Corpus | None:
    """Return the corpus where its text is labelled."""
    source = corpus.source if isinstance(corpus, Corpus) else corpus
    if not isinstance(source, str | Path) or not Path(source).is_file() or not is_labelled(source):
        return None
    return corpus if isinstance(corpus, Corpus) else Corpus(source, "documents")


def _begin(place: Path, plan: Mapping[str, Any], *, resume: bool) -> None:
    """Keep the plan in a new folder, or compare it with the one of an interrupted run."""
    path = place / PLAN
    if resume and path.is_file():
        with report_damage(path, AGAIN):
            kept = parse(read_text_file(path))
        refuse_other_plan(place, plan, kept, "method, scorers and options")
        return
    refuse_occupied(place)
    write_file(path, json.dumps(plan, indent=1).encode())


def _from(progress: Progress | None, first: int, total: int) -> Progress:
    """Return progress of a part as that of the whole."""
    return lambda done, _: None if progress is None else progress(first + done, total)


def _seconds_per_token(
    subject: Any,
    corpus: Any,
    units: Any,
    how: EvidenceOptions,
    bases: Mapping[str, Basis] | None,
    batch_size: int,
) -> float:
    """Return how long a token takes in a pass: of two passes of a first batch the quicker."""
    sources = choose_units(subject, units, bases or {})
    batches = read_corpus(subject, cut_corpus(subject, corpus, how), batch_size=batch_size)
    batch = next(iter(batches))
    times = []
    for _ in range(2):
        began = time.perf_counter()
        watch_units(subject, sources, batch, lambda _, values: values.max())
        times.append(time.perf_counter() - began)
    return min(times) / max(sum(map(len, batch)), 1)
