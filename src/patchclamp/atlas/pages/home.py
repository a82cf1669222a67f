"""Home: what is in the atlas, and where it came from."""

from dataclasses import dataclass

from patchclamp.atlas.pages.parts import Source
from patchclamp.core.arguments import checked


@dataclass(frozen=True)
class SubjectView:
    """The model: its slug in keys, the name it was loaded by, its hash, class and dtype."""

    slug: str
    name: str
    hash: str
    architecture: str
    dtype: str


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
        id: ``descriptions-…``, ``graph-…`` or ``basis-…`` with its content hash; also the id of the run that made it.
        kind: ``descriptions``, ``graph`` or ``basis``.
        rows: descriptions, nodes of the graph, or features.
        title: the author of descriptions, the prompt and answer of a graph, or a basis and its sites.
        bytes: size on disk.
    """

    id: str
    kind: str
    rows: int
    title: str
    bytes: int


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
    """Runs: where did this come from? The newest first; ``unverified`` says what vouches for them: nothing."""

    rows: list[RunRow]
    total: int
    unverified: str
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
        curves: what was followed while a dictionary was trained: site to measure to a list of ``[step, value]``.
        unverified: what vouches for command and script: nothing.
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
    curves: dict[str, dict[str, list[list[float]]]]
    unverified: str
    source: Source
