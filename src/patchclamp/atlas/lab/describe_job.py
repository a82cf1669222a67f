"""Describe one unit for the page: checked first, then computed by the worker; in memory until somebody keeps it."""

import shlex
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patchclamp.atlas.description_layer import AtlasText, read_for, run_of
from patchclamp.atlas.lab import describe_messages as asked_of
from patchclamp.atlas.lab import messages
from patchclamp.atlas.lab.explain_job import Meter
from patchclamp.atlas.lab.job_queue import Job
from patchclamp.atlas.read.reader import NotFound, Reading, number_or_none
from patchclamp.atlas.read.responses import EstimateView
from patchclamp.atlas.store.layers import list_described
from patchclamp.atlas.store.provenance import Run, now
from patchclamp.core.errors import PatchclampError
from patchclamp.core.scoring import FailingWindow
from patchclamp.recipes.describe_units import DescribedUnits, NoEvidence, describe_units, plan_description

PREFIX = "described-"
MOST_KEPT = 200
SCORE_SHARE = 0.1
"""How long scoring takes, as a share of the passes over the text: about."""


@dataclass(frozen=True)
class AskedDescription:
    """One unit that was described from the page.

    Args:
        id: ``described-`` and a hash of the question and the model.
        found: words, scores and windows that are wrong; None where the unit has no evidence.
        reason: why it has none.
        run: how it was made.
        python: what gives the same in Python.
    """

    id: str
    found: DescribedUnits | None
    reason: str
    run: Run | None
    python: str


class AskedDescriptions:
    """Remember the last units that were described."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, AskedDescription] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, asked: AskedDescription) -> None:
        """Remember one, and forget the oldest where there are too many."""
        with self._lock:
            self._kept[asked.id] = asked
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)

    def get(self, id: str) -> AskedDescription | None:
        """Return the one of an id, or None."""
        with self._lock:
            return self._kept.get(id)

    def find(self, id: str) -> tuple[DescribedUnits, Run]:
        """Return what was found, and how.

        Raises:
            NotFound: it was not made here, or too long ago, or there are no words.
        """
        asked = self.get(id)
        if asked is None or asked.found is None or asked.run is None:
            raise NotFound(
                expected=f"one of the last {MOST_KEPT} units that were described on this server",
                got=repr(id[:80]),
                remedy="Press “Describe it” on the unit's page again.",
            )
        return asked.found, asked.run


def description_cost(lab: Any, atlas: Reading, key: str) -> asked_of.DescribeCost:
    """Return what describing one unit takes; two batches are run.

    Returns:
        DescribeCost: tokens, passes and seconds, or why it cannot be done.

    Raises:
        NotFound: the atlas has no such unit.
    """
    try:
        read = _read(lab, atlas, key)
        with lab.turns.at_once(), lab.words:
            plan = plan_description(lab.model, read.corpus, read.units, bases=read.bases, batch_size=read.batch_size)
    except NotFound:
        raise
    except PatchclampError as problem:
        return asked_of.DescribeCost(
            False, f"Expected {problem.expected}, got {problem.got}. {problem.remedy}", 0, 0, None
        )
    return asked_of.DescribeCost(True, "", plan.tokens, plan.passes, number_or_none(plan.seconds, 3))


def prepare_description(lab: Any, atlas: Reading, asked: asked_of.DescribeAsked) -> Callable[[Job], None]:
    """Check a question, and return what answers it with ``progressed`` …, ``described``, ``finished``.

    Args:
        lab: the model's lab.
        atlas: its atlas.
        asked: the question.

    Returns:
        Callable[[Job], None]: runs on the worker and sends its events to the job.

    Raises:
        NotFound: the atlas has no such unit.
        PatchclampError: the text that was baked is there no more.
    """
    read = _read(lab, atlas, asked.unit)
    id = PREFIX + lab.id_of(asked)

    def work(job: Job) -> None:
        remembered = lab.described.get(id)
        if remembered is None:
            began = now()
            with tempfile.TemporaryDirectory(prefix="patchclamp-") as place, job.long_turn(lab.words) as give_way:
                meter = Meter(job, give_way, [1.0, SCORE_SHARE])
                remembered = _describe(lab, atlas, read, asked, Path(place), meter, (id, began, job))
            lab.described.keep(remembered)
        job.tell(_answer(atlas, remembered, job.seconds))
        command = "" if remembered.run is None else remembered.run.command
        job.tell(messages.Finished(remembered.id, job.seconds, remembered.python, command))

    return work


def _read(lab: Any, atlas: Reading, key: str) -> AtlasText:
    unit = str(atlas.key(atlas.index_of(key)))
    plan = atlas.about["plan"].get("max_tokens")
    most = min(plan or asked_of.MOST_TOKENS, asked_of.MOST_TOKENS)
    return read_for(atlas, lab.model, [unit], max_tokens=most)


def _describe(
    lab: Any,
    atlas: Reading,
    read: AtlasText,
    asked: asked_of.DescribeAsked,
    place: Path,
    meter: Meter,
    made: tuple[str, str, Job],
) -> AskedDescription:
    id, began, job = made
    python = _python(lab, atlas, read, asked)
    try:
        found = describe_units(
            lab.model, read.corpus, read.units, folder=place / "work", bases=read.bases, batch_size=read.batch_size,
            seed=asked.seed, progress=meter, text_progress=meter,
        )  # fmt: skip
    except NoEvidence as problem:
        return AskedDescription(id, None, problem.got.partition(": ")[2], None, python)
    name, *loading = lab.loading_words
    words = ["patchclamp", "describe", str(atlas.folder), "--units", read.units[0], "--seed", str(asked.seed)]
    command = shlex.join([*words, "--max-tokens", str(read.corpus.max_tokens), *loading])
    run = run_of(atlas, read.corpus, found, began, job.seconds, command=command, seed=asked.seed, model=name)
    return AskedDescription(id, found, "", run, python)


def _answer(atlas: Reading, asked: AskedDescription, seconds: float) -> asked_of.Described:
    words = [] if asked.found is None else list_described(asked.found.descriptions)
    if not words or asked.found is None:
        reason = asked.reason or "No simple rule tells the windows in which it fires from those in which it does not."
        return asked_of.Described(asked.id, "", reason, "", [], [], [], [], seconds)
    [one] = words
    random = {row.name: row.random for row in asked.found.scoring.rows}
    beside = [random.get(score.unit) for score in one.scores]
    wrong = [_view(atlas, window) for windows in asked.found.failures.values() for window in windows]
    return asked_of.Described(
        id=asked.id,
        text=one.text,
        reason="",
        author=one.author,
        evidence=list(one.evidence),
        scores=[EstimateView.of(score) for score in one.scores],
        random=[EstimateView.of(score) for score in beside if score is not None],
        wrong=wrong,
        seconds=seconds,
    )


def _view(atlas: Reading, window: FailingWindow) -> asked_of.WrongWindow:
    ids = window.ids.tolist()
    tokens = [atlas.token(id) for id in ids]
    return asked_of.WrongWindow(
        tokens=[token.text for token in tokens],
        acts=[number_or_none(a, 4) for a in window.acts.tolist()],
        bytes=[i for i, token in enumerate(tokens) if token.bytes],
        ids=ids,
        mark=window.mark,
        reason=window.reason,
    )


def _python(lab: Any, atlas: Reading, read: AtlasText, asked: asked_of.DescribeAsked) -> str:
    return "\n".join(
        [
            "import patchclamp as pc",
            "",
            f"model = pc.load({lab.loading})",
            f"how = dict(units=[{read.units[0]!r}], max_tokens={read.corpus.max_tokens}, seed={asked.seed})",
            f"layer = pc.atlas.describe({str(atlas.folder)!r}, model, **how)",
            f"print(pc.atlas.open({str(atlas.folder)!r}).unit({read.units[0]!r}).descriptions)",
            "",
        ]
    )
