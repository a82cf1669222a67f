"""Explain an answer, or find a circuit over pairs, for the page: checked first, then computed by the worker."""

import math
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from patchclamp.atlas.lab import explain_messages as asked_of
from patchclamp.atlas.lab import messages
from patchclamp.atlas.lab.asked_graphs import PREFIX, AskedGraph
from patchclamp.atlas.lab.job_queue import Job
from patchclamp.atlas.lab.next_token import read_at
from patchclamp.atlas.read.graph_picture import UPLOADED
from patchclamp.atlas.read.graph_pruning import ENDS
from patchclamp.atlas.read.graph_row import graph_row
from patchclamp.atlas.read.reader import NotFound, Reading, number_or_none
from patchclamp.atlas.store.provenance import Run, host, now, versions
from patchclamp.attribute.nodes import count_nodes, level_sites
from patchclamp.attribute.rules import Gradient, PathIntegral, find_rule
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import finite
from patchclamp.core.graph import Graph, Node
from patchclamp.core.plain_names import name_unit
from patchclamp.core.receipt import RULE
from patchclamp.core.task_files import parse_task
from patchclamp.core.unit import UnitKey
from patchclamp.recipes import explain, find_circuit
from patchclamp.recipes.answer import METHOD
from patchclamp.recipes.circuit import graph_with_receipt
from patchclamp.recipes.receipts import count_rows
from patchclamp.subjects.apply import upcast
from patchclamp.subjects.cases import ReadTask

BACKWARD_ROWS = 3.0
"""How much longer a row takes forward and back than forward."""
EDGES = 0.2
"""How long the edges take, as a share of all before them: about."""
OFTEN_S = 0.05
"""Seconds between two events of progress, at least."""
LIKELIEST = 8
PAIRS_FILE = "pairs.jsonl"
"""What the pasted pairs are called in messages and in the command."""


# -- one answer -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """An answer to explain, of a prompt or of a picture.

    Args:
        shown: what the model is shown: a text, or a picture.
        named: what that is called in a command.
        target: the answer.
        contrast: the answer that it is compared with.
        counterpart: the other prompt.
        about: what the graph says besides.
    """

    shown: Any
    named: str
    target: str
    contrast: str | None
    counterpart: str | None = None
    about: Mapping[str, str] = field(default_factory=dict)


def prepare_explanation(
    lab: Any, atlas: Reading, asked: asked_of.ExplainAsked | asked_of.ExplainPictureAsked
) -> Callable[[Job], None]:
    """Check a question, and return what answers it with ``progressed`` …, ``explained``, ``finished``.

    Args:
        lab: the model's lab.
        atlas: its atlas.
        asked: the question.

    Returns:
        Callable[[Job], None]: runs on the worker and sends its events to the job.

    Raises:
        NotFound: a picture that is neither kept nor uploaded.
        PatchclampError: a prompt, an answer or a counterpart that the model cannot read, or a model without gradients.
    """
    model = lab.model
    model.require("differentiate")
    if isinstance(asked, asked_of.ExplainAsked):
        question = Question(asked.prompt, asked.prompt, asked.target, asked.contrast, asked.counterpart)
    else:
        picture, _ = lab.find_picture(atlas, asked.picture)
        target, contrast = (None if c is None else model.answer_name(c) for c in (asked.target, asked.contrast))
        about = {UPLOADED: asked.picture} if isinstance(asked.picture, str) else {}
        question = Question(picture, picture.name, str(target), contrast, about=about)
    contrasts = () if question.contrast is None else (question.contrast,)
    with lab.words:
        case = model.read_case(question.shown, (question.target,), contrasts, counterpart=question.counterpart)
    id = PREFIX + lab.id_of(asked)

    def work(job: Job) -> None:
        remembered = lab.asked.get(id)
        if remembered is None:
            began = now()
            with job.long_turn(lab.words) as give_way:
                found = explain(
                    model,
                    question.shown,
                    question.target,
                    contrast=question.contrast,
                    counterpart=question.counterpart,
                    top=asked.top,
                    n_controls=asked.controls,
                    seed=asked.seed,
                    progress=Meter(job, give_way, _phases(model, len(case.clean), asked)),
                )
            graph = found.graph()
            graph = replace(graph, about={**graph.about, **question.about})
            run = _run_of_explanation(lab, atlas, asked, question, graph, began, job.seconds)
            remembered = AskedGraph(id, graph, run, _python_of_explanation(lab, asked, question))
            lab.asked.keep(remembered)
        _tell(job, atlas, remembered)

    return work


def explanation_cost(model: Any, n_tokens: int, asked: Any = asked_of.ExplainAsked) -> asked_of.ExplainCost:
    """Return what an explanation of a prompt of so many tokens, or of one picture, takes; nothing is run.

    Returns:
        ExplainCost: rows of passes, and the smallest p.
    """
    top, controls = asked.top, asked.controls
    n_units = count_nodes(model, n_tokens, model.levels)
    _, rule = find_rule(METHOD)
    backward = rule.passes[1] if isinstance(rule, Gradient) else 0
    if isinstance(rule, PathIntegral):
        backward = rule.steps * len(level_sites(model, model.levels))
    forward = count_rows(n_units, top=top, n_controls=controls)
    return asked_of.ExplainCost(n_units, backward, forward, controls, 1 / (1 + controls))


def _phases(model: Any, n_tokens: int, asked: Any) -> list[float]:
    """Return how long each part of an explanation takes, in forward rows: scores, replacements, then edges."""
    cost = explanation_cost(model, n_tokens, asked)
    phases = [BACKWARD_ROWS * cost.backward, cost.forward]
    return [*phases, EDGES * sum(phases)]


def next_tokens(lab: Any, text: str) -> asked_of.NextTokens:
    """Return the likeliest next tokens of a prompt, and what explaining one of them takes; one forward pass.

    Returns:
        NextTokens: the prompt's tokens and the likeliest next ones.

    Raises:
        PatchclampError: no token, more than the context holds, or no mask in a model that fills in masks.
    """
    model, stimulus, cut = lab.model, lab.cut(text), lab.tokens(text)
    with lab.turns.at_once():
        logits = model.run(stimulus, logits=(read_at(model, stimulus),)).logits
    likely = upcast(logits[0, 0]).cpu().double().softmax(-1)
    best = likely.topk(min(LIKELIEST, len(likely)))
    rows = [
        asked_of.Likely(lab.spell(int(id)), float(p)) for p, id in zip(best.values, best.indices, strict=True) if p == p
    ]
    cost = explanation_cost(model, len(stimulus)) if model.capabilities.differentiate else None
    return asked_of.NextTokens(cut, rows, cost)


# -- a file of pairs --------------------------------------------------------------------------------------------------


def read_pairs(lab: Any, text: str) -> ReadTask:
    """Return pasted pairs as the model reads them.

    Raises:
        PatchclampError: lines that are no pairs, too many of them, or none that the model can read.
    """
    task = parse_task(text, PAIRS_FILE)
    if len(task) > asked_of.MOST_PAIRS:
        raise PatchclampError(
            expected=f"at most {asked_of.MOST_PAIRS} pairs",
            got=f"{len(task)}",
            remedy="Leave some out, or use `patchclamp circuit find MODEL --pairs FILE --out DIR`.",
        )
    cases: ReadTask = lab.model.read(task)
    if not cases.has_counterparts:
        raise PatchclampError(
            expected="pairs of a clean and a corrupted prompt",
            got="prompts without a counterpart",
            remedy='Give every line "clean", "corrupted", "answer" and "wrong".',
        )
    return cases


def pairs_cost(lab: Any, asked: asked_of.CircuitAsked) -> asked_of.PairsRead:
    """Return what pasted pairs are, and what finding a circuit over them takes; the pairs themselves are run.

    Returns:
        PairsRead: how many pairs are used, and the cost.

    Raises:
        PatchclampError: see ``read_pairs``.
    """
    with lab.turns.at_once(), lab.words:
        clock = time.monotonic()
        cases = read_pairs(lab, asked.pairs)
        per_row = (time.monotonic() - clock) / (2 * len(cases))
    cost = _search_cost(lab.model, cases, asked)
    forward = cost.forward + _receipt_rows(len(cases), asked.controls)
    return asked_of.PairsRead(
        pairs=len(cases),
        aside=[asked_of.SetAside(reason, n) for reason, n in cases.count_skipped().items()],
        quantity=cases.quantity,
        reversed=cases.n_reversed,
        metric_clean=finite(float(np.mean(cases.m_clean))),
        metric_corrupted=finite(float(np.mean(cases.m_counterpart))),
        parts=cost.parts,
        method=cost.method,
        forward=forward,
        backward=cost.backward,
        seconds=round(per_row * (forward + BACKWARD_ROWS * cost.backward), 3),
        most_seconds=asked_of.SLOWEST_S,
    )


def prepare_circuit(lab: Any, atlas: Reading, asked: asked_of.CircuitAsked) -> Callable[[Job], None]:
    """Check pasted pairs, and return what finds their circuit: ``progressed`` …, ``explained``, ``finished``.

    Args:
        lab: the model's lab.
        atlas: its atlas.
        asked: the question.

    Returns:
        Callable[[Job], None]: runs on the worker and sends its events to the job.

    Raises:
        PatchclampError: lines that are no pairs.
    """
    parse_task(asked.pairs, PAIRS_FILE)
    id = PREFIX + lab.id_of(asked)

    def work(job: Job) -> None:
        remembered = lab.asked.get(id)
        if remembered is None:
            began = now()
            with job.long_turn(lab.words) as give_way:
                cases = read_pairs(lab, asked.pairs)
                cost = _search_cost(lab.model, cases, asked)
                phases = [
                    cost.forward + BACKWARD_ROWS * cost.backward,
                    float(_receipt_rows(len(cases), asked.controls)),
                ]
                found = find_circuit(
                    lab.model,
                    cases,
                    level=asked.level,
                    n_controls=asked.controls,
                    seed=asked.seed,
                    progress=Meter(job, give_way, phases),
                )
            graph = graph_with_receipt(found)
            run = _run_of_circuit(lab, atlas, asked, graph, began, job.seconds)
            remembered = AskedGraph(id, graph, run, _python_of_circuit(lab, asked))
            lab.asked.keep(remembered)
        _tell(job, atlas, remembered)

    return work


def _search_cost(model: Any, cases: ReadTask, asked: asked_of.CircuitAsked) -> Any:
    from patchclamp.recipes.circuit import search_cost

    return search_cost(model, cases, asked.level)


def _receipt_rows(n_pairs: int, controls: int) -> int:
    from patchclamp.recipes.circuit import TOP

    return n_pairs * (4 + controls + TOP)


# -- what both send ---------------------------------------------------------------------------------------------------


class Meter:
    """Send how far an explanation is and how long it will take, and let others use the model between two passes.

    Args:
        job: who is told.
        give_way: lets others have the model; raises where nobody waits for the answer any more.
        phases: how long each phase takes, in one unit; a phase begins where what is done falls back.
    """

    def __init__(self, job: Job, give_way: Callable[[], None], phases: Sequence[float]) -> None:
        self._job, self._give_way, self._phases = job, give_way, list(phases)
        self._phase, self._last, self._told = 0, (0, 0), -math.inf

    def __call__(self, done: int, total: int) -> None:
        """Note that so much is done."""
        self._give_way()
        if self._last[1] and (total != self._last[1] or done < self._last[0]):
            self._phase += 1
        self._last = (done, total)
        if self._job.seconds - self._told < OFTEN_S and done < total:
            return
        self._told = self._job.seconds
        phases = [*self._phases, *[self._phases[-1]] * (self._phase + 1 - len(self._phases))]
        share = (sum(phases[: self._phase]) + phases[self._phase] * done / max(total, 1)) / max(sum(phases), 1e-9)
        left = self._job.seconds * (1 - share) / share if share > 0 else None
        self._job.tell(messages.Progressed(done, total, round(share, 4), None if left is None else round(left, 2)))


def _tell(job: Job, atlas: Reading, asked: AskedGraph) -> None:
    """Send an explained answer and the end."""
    row = graph_row(asked.id, asked.graph, kept=False)
    job.tell(asked_of.Explained(row, cause_rows(atlas, asked.graph), RULE, job.seconds))
    job.tell(messages.Finished(asked.id, job.seconds, asked.python, asked.run.command))


def cause_rows(atlas: Reading, graph: Graph) -> list[asked_of.CauseRow]:
    """Return the parts of a graph that were replaced, the largest first; of an answer all that push towards it.

    Returns:
        list[CauseRow]: with what the atlas knows of each.
    """
    parts = [node for node in graph.nodes if node.kind not in ENDS]
    causes = [node for node in parts if node.score > 0 and "measured" in node.measures]
    causes = sorted(causes or parts, key=lambda node: -node.score)[: asked_of.MOST_CAUSES]
    return [_cause(atlas, node, graph.about) for node in causes]


def _cause(atlas: Reading, node: Node, about: Mapping[str, Any]) -> asked_of.CauseRow:
    key = UnitKey.parse(node.key)
    unit, known = None, ""
    with suppress(NotFound):
        index = atlas.index_of(str(key.without_place()))
        unit = str(atlas.key(index))
        known = atlas.label(index, node.measures.get("activation"))
    tokens = about.get("tokens") or []
    token = "" if key.position is None else next(iter(tokens[key.position : key.position + 1]), "")
    return asked_of.CauseRow(
        key=node.key,
        name=name_unit(key),
        kind=node.kind,
        unit=unit,
        known=known,
        position=key.position,
        token=str(token),
        value=number_or_none(node.measures.get("activation")),
        predicted=number_or_none(node.score) or 0.0,
        measured=number_or_none(node.measures.get("measured")),
    )


# -- how it was made --------------------------------------------------------------------------------------------------


def _run_of_explanation(
    lab: Any, atlas: Reading, asked: Any, question: Question, graph: Graph, began: str, seconds: float
) -> Run:
    named = {"--target": question.target, "--contrast": question.contrast, "--counterpart": question.counterpart}
    words = [word for option, value in named.items() if value is not None for word in (option, value)]
    counts = ["--top", str(asked.top), "--controls", str(asked.controls), "--atlas", str(atlas.folder)]
    name, *loading = lab.loading_words
    command = ["patchclamp", "explain", name, *words, *counts, *loading]
    # After two strokes nothing is an option, whatever the prompt begins with.
    prompt = question.named
    command = [*command, "--", prompt] if prompt.startswith("-") else [*command[:3], prompt, *command[3:]]
    made = f"the graph of {question.target!r} after {prompt!r}"
    options = {name: str(value) for name, value in asdict(asked).items() if value is not None}
    return _run("explain", shlex.join(command), made, lab, options, asked.seed, graph, began, seconds)


def _run_of_circuit(
    lab: Any, atlas: Reading, asked: asked_of.CircuitAsked, graph: Graph, began: str, seconds: float
) -> Run:
    name, *loading = lab.loading_words
    command = ["patchclamp", "circuit", "find", name, "--pairs", PAIRS_FILE, "--level", asked.level]
    command += ["--controls", str(asked.controls), "--atlas", str(atlas.folder), "--out", "circuit", *loading]
    made = f"a circuit of {asked.level}s over {graph.about['n_pairs']} pairs that were pasted"
    options = {"level": asked.level, "controls": str(asked.controls), "pairs": "pasted into the page"}
    return _run("circuit find", shlex.join(command), made, lab, options, asked.seed, graph, began, seconds)


def _run(
    verb: str, command: str, made: str, lab: Any, options: dict[str, str], seed: int, graph: Graph, began: str, s: float
) -> Run:
    return Run(
        verb=verb,
        command=command,
        made=made[:200],
        began=began,
        duration_s=round(s, 3),
        host=host(),
        versions=versions("torch", "transformers"),
        seeds={"seed": seed},
        hashes={"model": str(graph.subject.get("hash", ""))},
        options={"model": lab.name, **options},
        log=(f"{len(graph.nodes)} nodes, from the page",),
        rebuild=command + "\n",
    )


def _python_of_explanation(lab: Any, asked: Any, question: Question) -> str:
    more = {"contrast": question.contrast, "counterpart": question.counterpart}
    words = [repr(question.named), repr(question.target)]
    words += [f"{name}={value!r}" for name, value in more.items() if value is not None]
    counts = f"top={asked.top}, n_controls={asked.controls}, seed={asked.seed}"
    return "\n".join(
        [
            "import patchclamp as pc",
            "",
            f"model = pc.load({lab.loading})",
            f"found = pc.explain(model, {', '.join(words)}, {counts})",
            "print(found.sentence)",
            "for cause in found.causes:",
            "    print(cause.key, cause.predicted, cause.measured)",
            "",
        ]
    )


def _python_of_circuit(lab: Any, asked: asked_of.CircuitAsked) -> str:
    return "\n".join(
        [
            "import patchclamp as pc",
            "",
            f"model = pc.load({lab.loading})",
            f"pairs = pc.read_task({PAIRS_FILE!r})",
            f"how = dict(level={asked.level!r}, n_controls={asked.controls}, seed={asked.seed})",
            "found = pc.find_circuit(model, pairs, **how)",
            "print(found.provenance.extra['receipt']['sentence'])",
            "",
        ]
    )
