"""What several screens answer with: tokens, scores, trouble in three parts, and where an answer comes from.

A number that is NaN or infinite is None in every answer, for JSON has none.
"""

from dataclasses import dataclass

from patchclamp.core.arguments import checked


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
class ScoreView:
    """How well a description holds by one measure, with its interval and the number of items it rests on."""

    measure: str
    value: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class ConceptScore:
    """How well the unit tells a labelled concept: AUROC on documents that it was not chosen on.

    Args:
        concept: its name.
        auroc: P(activation where it is true > where it is not), ties counted half.
        low: lower end of the 95 % interval, documents as clusters.
        high: upper end.
        n: tokens at which it is true, in the scored half.
    """

    concept: str
    auroc: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class GraphRow:
    """One explained answer.

    Args:
        id: the layer that holds it, and its run.
        prompt: the prompt.
        target: the answer explained.
        contrast: the answer that it was held against; None without one.
        method: how nodes were scored.
        n_nodes: nodes of the graph.
        metric: m with nothing changed; None where it is not known.
        score: the asking unit's score, where a unit asked; None elsewhere.
        measured: what replacing the asking unit took from m, where that was measured.
        position: where the asking unit stands in the prompt.
        predicted_together: sum of the scores of all causes; None where the graph does not say.
        measured_together: what replacing them together took from m.
        control_low: lower end of what random sets of like units took, 95 % interval.
        control_high: its upper end.
        p: (1 + random sets that took as much) / (1 + sets).
        verdict: what the measurement says of the causes, in one sentence; empty where the graph does not say.
    """

    id: str
    prompt: str
    target: str
    contrast: str | None
    method: str
    n_nodes: int
    metric: float | None
    score: float | None
    measured: float | None
    position: int | None
    predicted_together: float | None
    measured_together: float | None
    control_low: float | None
    control_high: float | None
    p: float | None
    verdict: str


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
