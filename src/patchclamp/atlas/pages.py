"""Pages: what the atlas answers with, one frozen dataclass per answer.

The server gives them as they stand, its OpenAPI schema is made from them, and the browser's types from that schema. A
number that is NaN or infinite is None here, for JSON has none.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["top", "quantile", "random", "counter", "interval"]
"""Why an example was chosen: see ``Examples``."""

Sort = Literal["relevance", "key", "frequency", "maximum", "mean", "score", "concept"]
"""What Find can be sorted by."""


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
class SubjectView:
    """The model: its slug in keys, the name it was loaded by, its hash, class and dtype."""

    slug: str
    name: str
    hash: str
    architecture: str
    dtype: str


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


@dataclass(frozen=True)
class SiteRow:
    """One site of the atlas, with how many of its units there are, are described, and never rose above zero."""

    site: str
    kind: str
    layer: int | None
    basis: str
    units: int
    described: int
    silent: int


@dataclass(frozen=True)
class LayerRow:
    """One layer that was added to the base.

    Args:
        id: ``descriptions-…`` or ``graph-…`` with its content hash; also the id of the run that made it.
        kind: ``descriptions`` or ``graph``.
        rows: descriptions, or nodes of the graph.
        title: the author of descriptions, or the prompt and answer of a graph.
        bytes: size on disk.
    """

    id: str
    kind: str
    rows: int
    title: str
    bytes: int


@dataclass(frozen=True)
class Source:
    """Where a page comes from.

    Args:
        run: id of the run that made what the page shows.
        command: the command that shows the same, in a shell.
        python: the same in Python.
    """

    run: str
    command: str
    python: str


@dataclass(frozen=True)
class AtlasPage:
    """Home: what is in this atlas?

    Args:
        name: name of the folder.
        hash: content hash of base and layers together; the ETag.
        base: content hash of the base.
        version: version of the format.
        modality: ``language``.
        subject: the model.
        corpus: the text.
        sites: one row per site.
        n_units: units in all.
        n_described: units with a description.
        n_scored: units with a scored description.
        n_silent: units that never rose above zero.
        n_examples: examples in the base.
        layers: what was added.
        bytes: size on disk, all files together.
        baked: the command that baked it.
        notes: what a reader should know, such as a layer that could not be read.
        source: where this page comes from.
    """

    name: str
    hash: str
    base: str
    version: int
    modality: str
    subject: SubjectView
    corpus: CorpusView
    sites: list[SiteRow]
    n_units: int
    n_described: int
    n_scored: int
    n_silent: int
    n_examples: int
    layers: list[LayerRow]
    bytes: int
    baked: str
    notes: list[str]
    source: Source


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
    value: float
    low: float
    high: float
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
class UnitRow:
    """One row of Find.

    Args:
        key: the unit's key, ``subject/site/basis/index``; its page is ``/units/{key}``.
        site: its site.
        layer: block number, or None.
        basis: its basis.
        index: its number in the basis.
        frequency: share of counted tokens above zero.
        maximum: highest activation.
        mean: mean activation.
        fires_on: the token that stands most often at its top examples; None where it never rose above zero.
        description: the best description, by score; None where there is none.
        author: who wrote it.
        score: its best score.
        score_low: lower end of its interval.
        score_high: upper end.
        measure: what the score measures.
        concept: the labelled concept that it tells best; None where the text carries no labels.
    """

    key: str
    site: str
    layer: int | None
    basis: str
    index: int
    frequency: float | None
    maximum: float | None
    mean: float | None
    fires_on: TokenView | None
    description: str | None
    author: str | None
    score: float | None
    score_low: float | None
    score_high: float | None
    measure: str | None
    concept: ConceptScore | None


@dataclass(frozen=True)
class UnitList:
    """Find: which units match this?

    Args:
        rows: this page of them.
        first: number of the first row, from 1; 0 where there are none.
        total: units that match.
        n_units: units in the atlas.
        next: cursor of the next page; None at the end.
        previous: cursor of the page before; None at the beginning.
        sort: what the rows are sorted by.
        descending: whether the largest comes first.
        source: where this page comes from.
    """

    rows: list[UnitRow]
    first: int
    total: int
    n_units: int
    next: str | None
    previous: str | None
    sort: Sort
    descending: bool
    source: Source


@dataclass(frozen=True)
class Quantile:
    """A probability and the activation at it, from the survey's uniform sample of tokens."""

    probability: float
    value: float | None


@dataclass(frozen=True)
class Statistics:
    """What the unit did over all counted tokens.

    Args:
        counted: number of tokens.
        frequency: share of them above zero.
        mean: mean activation.
        deviation: standard deviation.
        minimum: lowest.
        maximum: highest.
        quantiles: from the lowest probability up.
    """

    counted: int
    frequency: float | None
    mean: float | None
    deviation: float | None
    minimum: float | None
    maximum: float | None
    quantiles: list[Quantile]


@dataclass(frozen=True)
class Histogram:
    """Counts of activations in bins of equal width.

    A piece is 32 consecutive tokens of a stimulus. ``examples?interval=low,high`` gives pieces by their maximum, which
    ``pieces`` counts; ``tokens`` counts every token.

    Args:
        edges: ``len(tokens) + 1`` bin edges from the minimum to the maximum; the last bin holds its upper edge.
        tokens: counted tokens per bin.
        pieces: pieces per bin, by their maximum.
    """

    edges: list[float]
    tokens: list[int]
    pieces: list[int]


@dataclass(frozen=True)
class Example:
    """One place in the text, with the unit's activation at every token around it.

    Args:
        kind: why it was chosen.
        value: activation at the marked token; what ``data-act`` shows.
        mark: index of the marked token in ``tokens``.
        tokens: the tokens' text, as it is: spaces and line breaks are not marked.
        ids: their ids.
        acts: the unit's activation at each (float16); None where it is not finite.
        special: indices of tokens that no statistics count (beginning of text, special).
        bytes: indices of tokens that are parts of characters; their text is their bytes in hex.
        before: whether tokens of the same stimulus stand before the first.
        after: whether some stand after the last.
        stimulus: number of the stimulus in the text.
        position: logical position of the marked token in it.
        reason: of a counter-example, what the description gets wrong here; empty elsewhere.
    """

    kind: Kind
    value: float
    mark: int
    tokens: list[str]
    ids: list[int]
    acts: list[float | None]
    special: list[int]
    bytes: list[int]
    before: bool
    after: bool
    stimulus: int
    position: int
    reason: str


@dataclass(frozen=True)
class Examples:
    """Examples of one unit.

    ``top``: the stimuli with the highest activation, marked there. ``quantile``: one token per decile of a uniform
    sample, from low to high. ``random``: tokens of the same sample, whatever their activation. ``interval``: pieces of
    32 tokens whose maximum lies in the interval, marked there. ``counter``: where a description says that the unit
    fires and it does not, or the other way round.

    Args:
        key: the unit.
        kind: which kind.
        low: lower end of the interval asked for; None elsewhere.
        high: upper end.
        examples: the examples.
        total: how many places of the text qualify; None where nobody counted.
        note: a sentence about what is shown, or why there is nothing.
        source: where this comes from.
    """

    key: str
    kind: Kind
    low: float | None
    high: float | None
    examples: list[Example]
    total: int | None
    note: str
    source: Source


@dataclass(frozen=True)
class DescriptionView:
    """Words about the unit, with who wrote them, when, from what, and how well they hold.

    Args:
        text: the words.
        author: who wrote them.
        made: when, as ISO 8601 in UTC; None where the run is not known.
        evidence: ids of the stimuli that the author was shown.
        scores: how well the words hold.
        fails_on: examples that the words get wrong; see ``Examples``, kind ``counter``.
        run: the run that wrote them.
    """

    text: str
    author: str
    made: str | None
    evidence: list[str]
    scores: list[ScoreView]
    fails_on: int
    run: str


@dataclass(frozen=True)
class Neighbour:
    """Another unit, how near it is, and what is known of it."""

    key: str
    value: float
    fires_on: TokenView | None
    description: str | None


@dataclass(frozen=True)
class KindCount:
    """How many examples of a kind there are."""

    kind: Kind
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


@dataclass(frozen=True)
class UnitPage:
    """Unit: what does it do, and how sure are we?

    Args:
        key: its key.
        subject: slug of the model.
        site: its site.
        layer: block number, or None.
        basis: its basis.
        index: its number.
        previous: key of the unit before; None at the first.
        next: key of the unit after; None at the last.
        statistics: over all counted tokens.
        histogram: of activations; None where it never changed or was not finite.
        silent: it never rose above zero; the page then says "never fired in N tokens".
        fires_on: tokens at its top examples, the most frequent first; ``weight`` counts them.
        descriptions: the best scored first.
        concepts: labelled concepts that it tells best.
        promotes: tokens that its write direction promotes most, through the unembedding alone.
        suppresses: tokens that it suppresses most.
        excited_by: tokens whose embedding drives it most, straight through its read direction.
        inhibited_by: tokens whose embedding holds it down most.
        driven_by: earlier units whose write direction its read direction picks up most: w_read · w_write.
        similar: units with the nearest write direction (cosine).
        together: units that rise and fall with it (correlation over a sample of tokens).
        not_known: reason for each of the panels above that this site or model cannot have, by name of the field.
        examples: how many of each kind there are.
        graphs: explained answers in which it stands.
        source: where this page comes from.
    """

    key: str
    subject: str
    site: str
    layer: int | None
    basis: str
    index: int
    previous: str | None
    next: str | None
    statistics: Statistics
    histogram: Histogram | None
    silent: bool
    fires_on: list[TokenWeight]
    descriptions: list[DescriptionView]
    concepts: list[ConceptScore]
    promotes: list[TokenWeight]
    suppresses: list[TokenWeight]
    excited_by: list[TokenWeight]
    inhibited_by: list[TokenWeight]
    driven_by: list[Neighbour]
    similar: list[Neighbour]
    together: list[Neighbour]
    not_known: dict[str, str]
    examples: list[KindCount]
    graphs: list[GraphRow]
    source: Source


@dataclass(frozen=True)
class NodeRow:
    """One node of a graph, its ``key`` with a position; ``unit`` is the atlas's unit, where it has it."""

    key: str
    kind: str
    unit: str | None
    score: float
    measured: float | None
    value: float | None


@dataclass(frozen=True)
class GraphPage:
    """An explained answer as a list of nodes.

    Args:
        graph: the row.
        nodes: the largest scores first, as many as were asked for.
        total: nodes in all.
        kept: share of the sum of |scores| that the shown nodes carry.
        measures: baseline, completeness and other numbers of the whole.
        source: where this page comes from.
    """

    graph: GraphRow
    nodes: list[NodeRow]
    total: int
    kept: float | None
    measures: dict[str, float]
    source: Source


@dataclass(frozen=True)
class GraphList:
    """All explained answers of the atlas."""

    rows: list[GraphRow]
    total: int
    source: Source


@dataclass(frozen=True)
class RunRow:
    """One run that made a part of the atlas.

    Args:
        id: the part that it made: ``base-…``, ``descriptions-…`` or ``graph-…``.
        verb: ``atlas bake``, ``explain`` or ``describe``.
        command: what was typed.
        began: when, as ISO 8601 in UTC; None where no record was kept.
        duration_s: how long it took.
        made: what it made, in words.
    """

    id: str
    verb: str
    command: str
    began: str | None
    duration_s: float | None
    made: str


@dataclass(frozen=True)
class RunList:
    """Runs: where did this come from? The newest first."""

    rows: list[RunRow]
    total: int
    source: Source


@dataclass(frozen=True)
class RunPage:
    """One run, with what is needed to do it again.

    Args:
        run: the row.
        host: the machine, as it called itself; None where no record was kept.
        versions: of patchclamp, Python and the libraries.
        seeds: by name.
        hashes: of model, tokenizer, text and of what was made.
        options: how the run was set up.
        log: what happened, line by line.
        rebuild: a shell script that makes the same part again.
        source: where this page comes from.
    """

    run: RunRow
    host: str | None
    versions: dict[str, str]
    seeds: dict[str, int]
    hashes: dict[str, str]
    options: dict[str, str]
    log: list[str]
    rebuild: str
    source: Source
