"""What several screens answer with: tokens, scores, trouble in three parts, and where an answer comes from.

A number that is NaN or infinite is None in every answer, for JSON has none.
"""

from dataclasses import dataclass

from patchclamp.core.arguments import checked
from patchclamp.core.estimate import Estimate


@dataclass(frozen=True)
class Problem:
    """Trouble in three parts, as ``PatchclampError`` has them."""

    expected: str
    got: str
    remedy: str


@dataclass(frozen=True)
class Refusal:
    """The body of every answer that is not 200 or 304."""

    error: Problem


@dataclass(frozen=True)
class Source:
    """Where a page comes from.

    Args:
        run: id of the run that made what the page shows.
        command: the command that made what the page shows.
        python: what gives this page in Python.
    """

    run: str
    command: str
    python: str


@dataclass(frozen=True)
class TokenView:
    """One token: id and text; ``bytes`` says that it is part of a character, and ``text`` its bytes in hex."""

    id: int
    text: str
    bytes: bool


@dataclass(frozen=True)
class TokenWeight:
    """One token and how strongly it is promoted, or drives the unit."""

    id: int
    text: str
    bytes: bool
    weight: float


@dataclass(frozen=True)
class EstimateView:
    """A number with its interval, as ``Estimate.to_json`` gives it.

    Args:
        value: the number.
        low: lower end of its interval; None without one.
        high: upper end.
        level: nominal coverage of the interval.
        interval: how the interval was computed.
        n: how many independent things the number rests on.
        unit: unit of measure, in words.
        null_low: lower end of what chance gives; None where that was not measured.
        null_high: upper end.
        null: how chance was measured.
        p: share of the null's values that reach the number.
        ceiling: the largest value that the noise of the data allows.
    """

    value: float | None
    low: float | None
    high: float | None
    level: float | None
    interval: str | None
    n: int
    unit: str
    null_low: float | None
    null_high: float | None
    null: str | None
    p: float | None
    ceiling: float | None

    @classmethod
    def of(cls, estimate: Estimate) -> "EstimateView":
        """Return an estimate as a page shows it."""
        return cls(**estimate.to_json())


@dataclass(frozen=True)
class ConceptScore:
    """How well the unit detects a concept or a pattern of tokens, on documents that it was not chosen on.

    Args:
        concept: its name; of tokens, their text without spaces before them, with a space between two.
        kind: ``label``, a labelled concept; ``token``, one of some tokens; ``after``, what follows one of some tokens;
            ``class``, a class of tokens.
        auroc: P(activation where it is true > where it is not), ties counted half; the interval takes tokens of one
            document as dependent, and n counts the tokens at which the concept is true.
    """

    concept: str
    kind: str
    auroc: EstimateView


@dataclass(frozen=True)
class GraphRow:
    """One explained answer.

    Args:
        id: the layer that holds it, and its run.
        kept: whether it is on disk; an answer that was explained from the page is not until somebody keeps it.
        prompt: the prompt.
        target: the answer explained.
        contrast: the answer that it was compared with; None without one.
        method: how nodes were scored.
        n_nodes: nodes of the graph.
        metric: m with nothing changed; None where it is not known.
        score: the asking unit's score, where a unit asked; None elsewhere.
        measured: what replacing the asking unit took from m, where that was measured.
        position: where the asking unit stands in the prompt.
        measured_together: what replacing all causes together took from m; None where the graph does not say.
        control_low: lower end of what random sets of like units took, 95 % interval.
        control_high: its upper end.
        p: (1 + random sets that took as much) / (1 + sets).
        grade: ``holds``, ``weak`` or ``no evidence``; empty where the graph does not say.
        sentence: the verdict in one sentence, with what was measured; empty likewise.
        cautions: what a reader should know before believing it, a sentence each.
        quantity: what m is, in words: ``the lead of ' Mary' over ' John'``; empty where the graph does not say.
        target_read: the token at which a target of several tokens is read; empty where it is read whole.
        contrast_read: the same of the contrast.
    """

    id: str
    kept: bool
    prompt: str
    target: str
    contrast: str | None
    method: str
    n_nodes: int
    metric: float | None
    score: float | None
    measured: float | None
    position: int | None
    measured_together: float | None
    control_low: float | None
    control_high: float | None
    p: float | None
    grade: str
    sentence: str
    cautions: list[str]
    quantity: str
    target_read: str
    contrast_read: str


@checked
@dataclass(frozen=True)
class CorpusView:
    """The text that was read.

    Args:
        name: the file's name.
        hash: SHA-256 of the file.
        stimuli: windows that it was cut into.
        tokens: tokens in all, special ones included.
        counted: tokens that statistics count.
        window: most tokens per stimulus.
        labelled: labelled tokens that concept scores rest on; 0 where the text carries no labels.
    """

    name: str
    hash: str
    stimuli: int
    tokens: int
    counted: int
    window: int
    labelled: int
