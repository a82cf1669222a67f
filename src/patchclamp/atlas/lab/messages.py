"""What is asked of a model beside its atlas, and what it answers, event by event.

Requests come as JSON; answers that take a while come as server-sent events, each the JSON of one dataclass here and
named after it: ``queued``, ``progressed``, ``table``, ``step``, ``control``, ``verified``, ``edgesverified``,
``finished``, ``refused``.
"""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from patchclamp.atlas.read.responses import EstimateView, Problem, Source, TokenView

MOST_CLAMPS, MOST_TOP, MOST_NEW, MOST_SETS, MOST_NODES_VERIFIED = 32, 50, 100, 200, 200
LONGEST_TEXT, LONGEST_KEY = 4000, 300

ClampMode = Literal["set", "add", "scale", "ablate", "patch"]
RankedBy = Literal["activation", "effect"]
Shows = Literal["texts", "pictures", "recording"]
Key = Annotated[str, Field(max_length=LONGEST_KEY)]
Finite = Annotated[float, Field(allow_inf_nan=False, strict=True)]
# A misspelt field would otherwise be left out in silence, and "1" or true be taken for a number.
_NOTHING_ELSE = ConfigDict(extra="forbid")


# -- asked ------------------------------------------------------------------------------------------------------------


def shown_by(modality: str) -> Shows:
    """Return what the units of an atlas respond to.

    Example:
        >>> shown_by("language"), shown_by("recording")
        ('texts', 'recording')
    """
    known: dict[str, Shows] = {"image": "pictures", "recording": "recording"}
    return known.get(modality, "texts")


@dataclass(frozen=True)
class ClampAsked:
    """One change: set f′ = v, add f′ = f + v, scale f′ = v f, ablate f′ = 0, patch f′ = f on the other prompt.

    Args:
        key: the unit, without a place.
        mode: how it is changed.
        value: v; None for ablate and patch. A None elsewhere is a slider at neutral, which changes nothing.
        at: positions ``5``, ``5:9``, ``-1``, generated steps ``+0:``, several with commas; empty for all of them.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _NOTHING_ELSE

    key: Key
    mode: ClampMode = "set"
    value: Finite | None = None
    at: Key = ""


@dataclass(frozen=True)
class RunAsked:
    """A prompt with clamps.

    Args:
        text: the prompt.
        other: a prompt of as many tokens, from which ``patch`` takes its values; empty without one.
        clamps: the changes, all at once; neutral ones are left out by the server.
        top: how many of the likeliest next tokens each side's table wants.
        new_tokens: how many tokens to write after the prompt, the likeliest each time; 0 for none.
        controls: how many random sets of like units are clamped instead; 0 for none.
        target: the token whose log-probability the control measures; the likeliest without clamps where None.
        seed: of the random sets.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _NOTHING_ELSE

    text: Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT)]
    other: Annotated[str, Field(max_length=LONGEST_TEXT)] = ""
    clamps: Annotated[list[ClampAsked], Field(max_length=MOST_CLAMPS)] = field(default_factory=list)
    top: Annotated[int, Field(strict=True, ge=1, le=MOST_TOP)] = 10
    new_tokens: Annotated[int, Field(strict=True, ge=0, le=MOST_NEW)] = 0
    controls: Annotated[int, Field(strict=True, ge=0, le=MOST_SETS)] = 0
    target: Annotated[int, Field(strict=True, ge=0, lt=2**31)] | None = None
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**32)] = 0


@dataclass(frozen=True)
class EdgeAsked:
    """An edge of an explained answer.

    Args:
        source: key of the node that it comes from.
        target: key of the node that it goes to.
        slot: what the target reads it as: ``q``, ``k`` or ``v`` of a head.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _NOTHING_ELSE

    source: Key
    target: Key
    slot: Annotated[str, Field(max_length=1)] = ""


@dataclass(frozen=True)
class VerifyAsked:
    """Nodes of an explained answer that are to be replaced together, or edges that are to be replaced one by one.

    Args:
        graph: the layer that holds the answer.
        nodes: keys of its nodes, places included.
        edges: edges between its nodes; without nodes.
        controls: random sets beside them.
        seed: of these.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _NOTHING_ELSE

    graph: Key
    nodes: Annotated[list[Key], Field(max_length=MOST_NODES_VERIFIED)] = field(default_factory=list)
    edges: Annotated[list[EdgeAsked], Field(max_length=MOST_NODES_VERIFIED)] = field(default_factory=list)
    controls: Annotated[int, Field(strict=True, ge=20, le=MOST_SETS)] = 99
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**32)] = 0


@dataclass(frozen=True)
class SetsAsked:
    """Clamps, or nodes of an explained answer, that random sets are to be compared with.

    Args:
        graph: the layer that holds the answer; empty with clamps.
        nodes: keys of its nodes, places included.
        clamps: the clamps of a run.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _NOTHING_ELSE

    graph: Key = ""
    nodes: Annotated[list[Key], Field(max_length=MOST_NODES_VERIFIED)] = field(default_factory=list)
    clamps: Annotated[list[ClampAsked], Field(max_length=MOST_CLAMPS)] = field(default_factory=list)


# -- answered at once -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sets:
    """How many different random sets there are, before any is measured.

    Args:
        different: the number, at most 99.
        floor: the least p that so many can show; 1 without any.
        sentence: both in words.
    """

    different: int
    floor: float
    sentence: str


@dataclass(frozen=True)
class LabPage:
    """Whether a model is attached, and what it takes.

    Args:
        attached: whether one is; nothing else under ``/api/lab`` answers without.
        shows: ``texts``; ``pictures`` where the atlas is one of images, ``recording`` where it is of a recorded brain.
        model: its name; empty without one.
        remedy: without one, what to type to have one.
        context: most tokens of prompt and continuation; None where the model has no such limit.
        generates: whether it continues text.
        differentiates: whether effects can be computed.
        most_clamps: most clamps of a run.
        most_new: most new tokens.
        source: where this comes from.
    """

    attached: bool
    shows: Shows
    model: str
    remedy: str
    context: int | None
    generates: bool
    differentiates: bool
    most_clamps: int
    most_new: int
    source: Source


@dataclass(frozen=True)
class Tokens:
    """A text cut into the model's tokens, its own beginning included; see ``Trial`` for the fields."""

    tokens: list[str]
    ids: list[int]
    special: list[int]
    bytes: list[int]


@dataclass(frozen=True)
class ClampableUnit:
    """A unit that can be clamped: its key without the subject, and what it is in words."""

    key: str
    name: str


@dataclass(frozen=True)
class RankedUnit:
    """A unit at one token.

    Args:
        key: the unit.
        name: the unit in words.
        value: its activation there.
        effect: what it is predicted to carry of the metric there; None where ranked by activation.
        mean: its mean activation in the atlas.
        minimum: its lowest.
        maximum: its highest.
        label: what is known of it in a few words; empty where nothing is.
    """

    key: str
    name: str
    value: float | None
    effect: float | None
    mean: float | None
    minimum: float | None
    maximum: float | None
    label: str


@dataclass(frozen=True)
class Ranking:
    """The units that do most at one token of a text, of all that the atlas has.

    Args:
        position: the token's place.
        by: what ranks them: the activation, the highest first, or the size of the effect.
        target: by effect, the token whose logit the effect is on; the likeliest next one where none was asked for.
        contrast: the token whose logit is taken away from it; None without.
        metric: by effect, the explained number with nothing changed.
        method: by effect, how it is predicted: RelP, or attribution patching where RelP's rules are not derived; else
            empty.
        units: the first of them.
        total: units in all.
        source: where this comes from.
    """

    position: int
    by: RankedBy
    target: TokenView | None
    contrast: TokenView | None
    metric: float | None
    method: str
    units: list[RankedUnit]
    total: int
    source: Source


# -- events -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Queued:
    """How many runs are done before this one; 0 when it begins."""

    ahead: int


@dataclass(frozen=True)
class Progressed:
    """How far a long answer is.

    Args:
        done: what is done, of a phase where there are several.
        total: what there is to do.
        share: of the whole, all phases together; None where there is only one.
        left: seconds that it will take about; None where that is not known.
    """

    done: int
    total: int
    share: float | None = None
    left: float | None = None


@dataclass(frozen=True)
class NextToken:
    """A possible next token: its probability and logit without the clamps and with them."""

    id: int
    text: str
    bytes: bool
    unclamped: float | None
    changed: float | None
    delta: float | None
    unclamped_logit: float | None
    changed_logit: float | None


@dataclass(frozen=True)
class Clamped:
    """What a clamp did along the prompt.

    Args:
        key: the unit.
        before: its activation at each token of the prompt without any clamp.
        after: with all of them.
        outside: whether ``after`` leaves the range that the atlas saw, where the clamp acts.
    """

    key: str
    before: list[float | None]
    after: list[float | None]
    outside: bool


@dataclass(frozen=True)
class Table:
    """The next token without and with the clamps.

    Args:
        rows: the union of both sides' likeliest, by the changed probability, the highest first.
        clamps: what each clamp that is not neutral did.
        divergence: KL(unclamped ‖ changed) of the next token, in nats.
        neutral: whether nothing was changed; both columns are then the same numbers.
        seconds: since the run began.
    """

    rows: list[NextToken]
    clamps: list[Clamped]
    divergence: float | None
    neutral: bool
    seconds: float


@dataclass(frozen=True)
class Step:
    """The tokens written at one step; None on a side that has ended."""

    step: int
    unclamped: TokenView | None
    changed: TokenView | None


@dataclass(frozen=True)
class Control:
    """What the clamps do to the target beside what the same clamps do on other units.

    Args:
        target: the token whose log-probability is compared.
        measured: log P(target) with the clamps − without, in nats.
        randoms: the same for every random set: for each clamped unit another of its site that the clamp moves about as
            far (same decile), or of its kind in another layer where its site has too few.
        mean: their mean, with its 95 % interval; n counts the sets of finite effect.
        p: (1 + different sets whose size is at least the measured one) / (1 + different sets).
        other_decile: share of units that had to come from another decile, or another layer.
        drawn: how the units of the sets are like the clamped ones, in words.
        seed: of the draw.
        grade: ``holds``, ``weak`` or ``no evidence``.
        sentence: what was measured, and what that says of the claim.
        rule: what the grades mean.
    """

    target: TokenView
    measured: float | None
    randoms: list[float | None]
    mean: EstimateView
    p: float
    other_decile: float
    drawn: str
    seed: int
    grade: str
    sentence: str
    rule: str


@dataclass(frozen=True)
class Verified:
    """What replacing nodes of an explained answer together did to its metric.

    Args:
        nodes: how many were replaced.
        metric_clean: m with nothing replaced.
        predicted: the node's score; None of several, for scores of units in series cannot be added.
        measured: m − m with them replaced.
        randoms: the same for every random set of like nodes.
        size: nodes in each; fewer than were replaced where most of a site was.
        mean: their mean, with its 95 % interval; n counts the sets of finite effect.
        different: how many of the sets differ from one another: the fewer, the less p can show.
        p: (1 + different sets whose effect is at least the measured one) / (1 + different sets); of a circuit None
            where sets are smaller.
        baseline: what replaced the values: ``zero``, ``corrupted`` or ``mean``.
        seed: of the draw.
        grade: ``holds``, ``weak`` or ``no evidence``.
        sentence: what was measured, and what that says of the claim.
        rule: what the grades mean.
    """

    nodes: int
    metric_clean: float | None
    predicted: float | None
    measured: float | None
    randoms: list[float | None]
    size: int
    mean: EstimateView
    different: int
    p: float | None
    baseline: str
    seed: int
    grade: str
    sentence: str
    rule: str


@dataclass(frozen=True)
class EdgeVerified:
    """What replacing one edge alone did.

    Args:
        source: where it comes from.
        target: where it goes to.
        slot: what the target reads it as.
        predicted: its weight.
        measured: m − m with the target reading the stream without what the source wrote.
    """

    source: str
    target: str
    slot: str
    predicted: float | None
    measured: float | None


@dataclass(frozen=True)
class EdgesVerified:
    """What replacing edges of an explained answer one by one did to its metric.

    Args:
        edges: in the order in which they were asked for.
        baseline: what replaced the sources: ``zero`` or ``corrupted``.
    """

    edges: list[EdgeVerified]
    baseline: str


@dataclass(frozen=True)
class Finished:
    """The end of an answer.

    Args:
        id: under which ``/api/lab/runs/ID`` gives a run again, while the server runs and keeps it; empty for others.
        seconds: how long it took.
        python: what gives the same numbers in Python; empty where nothing can be exported.
        command: what gives the continuation on the command line; empty where nothing does.
    """

    id: str
    seconds: float
    python: str
    command: str


@dataclass(frozen=True)
class Refused:
    """Trouble that shows only after the answer began."""

    error: Problem


@dataclass(frozen=True)
class LabRun:
    """A run that was made, whole.

    Args:
        id: its id.
        asked: what was asked.
        table: the next token.
        steps: the continuation.
        control: the random sets, where they were asked for.
        finished: the end; None where it was refused or broken off.
    """

    id: str
    asked: RunAsked
    table: Table | None
    steps: list[Step]
    control: Control | None
    finished: Finished | None


@dataclass(frozen=True)
class Trial:
    """What a unit does along a text that somebody typed; needs a server with a model attached.

    Args:
        key: the unit.
        tokens: the tokens' text, the tokenizer's own beginning included.
        ids: their ids.
        acts: the unit's activation at each; None where it is not finite.
        special: indices of tokens that statistics would not count.
        bytes: indices of tokens that are parts of characters; their text is their bytes in hex.
        source: where this comes from.
    """

    key: str
    tokens: list[str]
    ids: list[int]
    acts: list[float | None]
    special: list[int]
    bytes: list[int]
    source: Source
