"""Options that the dictionary cards of this room share, and the fit of bases at sites."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from jaxtyping import Float

from patchclamp.core.basis import Basis
from patchclamp.core.corpus import Corpus
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.disk import refuse_unwritable
from patchclamp.core.errors import PatchclampError
from patchclamp.core.options import option
from patchclamp.core.recording import Recording, StoredRecording
from patchclamp.core.subject import Progress
from patchclamp.core.unit import SLUG
from patchclamp.decompose.activation_store import ActivationSource, RecordingSource, TextSource, collect_activations
from patchclamp.decompose.first_tokens import AT_ONCE, MOST, measure_first_tokens
from patchclamp.decompose.recipe import Job, Recipe, disk_bytes, memory_bytes
from patchclamp.decompose.sparse_coder import CoderConfig
from patchclamp.decompose.training import train, train_dictionary
from patchclamp.engines import Engine
from patchclamp.subjects.bases import decode, encode
from patchclamp.subjects.protocols import Records
from patchclamp.train import refuse_if_no_memory

Pairs = Sequence[tuple[str, str]]
"""Sites that are read and written; the same one twice, but for a transcoder."""


class Subject(Records, Protocol):
    """What a method of this room needs; none where a recording is given."""


@dataclass(frozen=True)
class Need:
    """Say what a decomposition takes, before it begins.

    Args:
        what: of how much: sites, features, activations.
        memory: bytes besides the model's.
        disk: bytes on disk at most, while it runs.
        forward: rows of forward passes.
    """

    what: str
    memory: int
    disk: int = 0
    forward: int = 0


@dataclass(frozen=True)
class Run:
    """Say how a dictionary is made, whatever method makes it.

    Args:
        method: name of the card.
        seed: of everything random.
        out: folder to keep it in; in memory alone by default.
        resume: go on with an interrupted training in ``out``.
        progress: called with activations done and in all.
        state: called with what it takes, before it begins.
    """

    method: str
    seed: int = 0
    out: Path | None = None
    resume: bool = False
    progress: Progress | None = None
    state: Callable[[Need], None] = lambda _need: None


@dataclass(frozen=True)
class DictionaryOptions:
    """Options of every method of this room."""

    site: str = option("", "the site that is decomposed; the only one of a recording by default")
    n_features: int | None = option(None, "features of the site")
    expansion: float | None = option(None, "instead: features per unit of the site's width")
    name: str = option("", "name of the basis in keys; METHOD-FEATURES by default")
    batch_size: int = option(8, "stimuli per forward pass, of a corpus", least=1)
    device: str = option("", "where to compute; where the activations are by default")

    def __post_init__(self) -> None:
        features = self.expansion if self.n_features is None else self.n_features
        if self.n_features is not None and self.expansion is not None:
            raise PatchclampError(
                expected="n_features or expansion", got="both", remedy="One of them says how many features there are."
            )
        if features is not None and not 0 < features < 2**31:
            raise PatchclampError(expected="at least 1 feature", got=str(features), remedy="Give more.")
        if self.name and not SLUG.fullmatch(self.name):
            raise PatchclampError(
                expected="a --name of lower-case letters, digits, dots, dashes and underscores",
                got=repr(self.name),
                remedy="Keys of features hold it.",
            )

    def features(self, width: int) -> int:
        """Return how many features a site of some width is given."""
        if self.n_features is not None:
            return self.n_features
        return self._default(width) if self.expansion is None else max(round(self.expansion * width), 1)

    def _default(self, width: int) -> int:
        raise NotImplementedError

    def make(self, source: ActivationSource, pairs: Pairs, run: Run) -> Dictionary:
        """Return the bases at some sites.

        Args:
            source: activations.
            pairs: sites that are read and written.
            run: method, seed, folder and progress.

        Returns:
            Dictionary: a basis per written site.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class CoderOptions(DictionaryOptions):
    """Options of every sparse coder; all sites are trained on one pass of activations."""

    EXPANSION: ClassVar[float] = 16.0

    reads: str = option("", "of a transcoder: the site that it reads; the one that it writes by default")
    skip_connection: bool = option(False, "of a transcoder: a linear path beside the features")
    passes: int = option(1, "times that the activations are gone through")
    coder_batch: int = option(2048, "activations per training step")
    learning_rate: float | None = option(None, "of Adam; by the number of features by default")
    buffer: int = option(256, "MB of activations that are mixed")

    def config(self, n_latents: int) -> CoderConfig:
        """Return kind and size of the coder."""
        raise NotImplementedError

    def _default(self, width: int) -> int:
        return max(round(self.EXPANSION * width), 1)

    def recipe(self, seed: int) -> Recipe:
        """Return how it is trained."""
        return Recipe(
            batch_size=self.coder_batch,
            learning_rate=self.learning_rate,
            passes=self.passes,
            buffer_bytes=self.buffer * 2**20,
            seed=seed,
        )

    def make(self, source: ActivationSource, pairs: Pairs, run: Run) -> Dictionary:
        """Train a coder at each pair of sites, and save them if there is a folder.

        Returns:
            Dictionary: a basis per written site.
        """
        jobs = [Job(reads, writes, self.config(self.features(source.width(writes)))) for reads, writes in pairs]
        recipe, device = self.recipe(run.seed), self.device or source.device
        total = source.n_rows * recipe.passes // recipe.batch_size * recipe.batch_size
        latents = sum(job.config.n_latents for job in jobs)
        what = f"{latents:,} latents at {len(jobs)} site{'s' * (len(jobs) > 1)}, {total:,} activations"
        passes = source.forward_rows() * recipe.passes + source.forward_rows(MOST)
        run.state(Need(what, memory_bytes(source, jobs, recipe), disk_bytes(source, jobs), passes))
        if run.out is not None:
            return train_dictionary(
                source,
                jobs,
                recipe,
                out=run.out,
                name=self.name or None,
                resume=run.resume,
                device=device,
                progress=run.progress,
            )
        trained = train(source, jobs, recipe, device=device, progress=run.progress)
        slug = self.name or f"{run.method}-{jobs[0].config.n_latents}"
        bases = {
            one.job.writes: one.coder.to_basis(slug, one.job.reads if one.job.transcodes else None) for one in trained
        }
        curves = {one.job.writes: one.curves for one in trained}
        about = {"first_tokens": measure_first_tokens(source, bases)}
        return Dictionary(bases, dict(source.subject), run.method, about, curves)


@dataclass(frozen=True)
class FactorOptions(DictionaryOptions):
    """Options of every method that takes a site's activations at once, site after site."""

    FEATURES: ClassVar[int] = 100

    def check(self, n_features: int, n_rows: int, width: int) -> None:
        """Refuse, before activations are computed, numbers that they cannot be decomposed with.

        Args:
            n_features: number of features.
            n_rows: rows of the activations.
            width: their width.
        """
        raise NotImplementedError

    def fit_bytes(self, n_features: int, n_rows: int, width: int) -> int:
        """Return what ``fit`` holds at its largest, besides the activations.

        Args:
            n_features: number of features.
            n_rows: rows of the activations.
            width: their width.

        Returns:
            int: bytes.
        """
        raise NotImplementedError

    def fit(
        self, x: Float[np.ndarray, "row width"], n_features: int, *, name: str, seed: int
    ) -> tuple[Basis, Mapping[str, Any]]:
        """Fit the basis, and return it with curves of the fit.

        Args:
            x: ``(row, width)`` activations.
            n_features: number of features.
            name: slug of the basis.
            seed: of everything random.

        Returns:
            tuple: the basis, and curves by name.
        """
        raise NotImplementedError

    def _default(self, width: int) -> int:
        return self.FEATURES

    def make(self, source: ActivationSource, pairs: Pairs, run: Run) -> Dictionary:
        """Decompose each site, and save the bases if there is a folder.

        Returns:
            Dictionary: a basis per site.
        """
        sites = [writes for _, writes in pairs]
        for site in sites:
            self.check(self.features(source.width(site)), source.n_rows, source.width(site))
        if run.out is not None:
            refuse_unwritable(run.out)
        bases, curves = {}, {}
        for i, site in enumerate(sites):
            width, n = source.width(site), self.features(source.width(site))
            n_rows = source.n_rows
            # Where activations are collected, fitted and measured; then the first of them are read once more, twice
            # while they are joined.
            measuring = AT_ONCE * (20 * width + 24 * n)
            working = max(source.chunk_bytes(site), self.fit_bytes(n, n_rows, width), measuring)
            memory = max(4 * n_rows * width + working, 8 * min(n_rows, MOST) * width + measuring)
            passes = source.forward_rows() + source.forward_rows(MOST)
            need = Need(f"{site}: {source.n_rows:,} activations", memory, forward=passes)
            run.state(need)
            refuse_if_no_memory(need.memory, remedy="Give fewer sites, or a smaller --max-tokens.")
            x = collect_activations(source, site)
            bases[site], found = self.fit(x, n, name=self.name or f"{run.method}-{n}", seed=run.seed)
            curves[site] = {**found, **measure_basis(bases[site], x)}
            if run.progress is not None:
                run.progress((i + 1) * len(x), len(sites) * len(x))
            del x
        plan = {
            **source.about,
            "seed": run.seed,
            "sparsity": getattr(self, "sparsity", None),
            "k": getattr(self, "k", None),
        }
        about = {"plan": plan, "first_tokens": measure_first_tokens(source, bases)}
        made = Dictionary(bases, dict(source.subject), run.method, about, curves)
        if run.out is not None:
            made.save(run.out)
        return made


def open_source(
    subject: Any,
    corpus: Corpus | None,
    recording: Recording | StoredRecording | None,
    *,
    batch_size: int = 8,
    engine: Engine | None = None,
) -> ActivationSource:
    """Return the source of activations: a subject that reads a corpus, or a recording.

    Args:
        subject: a language model, with a corpus.
        corpus: a text.
        recording: activations instead of both.
        batch_size: stimuli per forward pass.
        engine: where a subject reads.

    Returns:
        Source: rows of sites.

    Raises:
        PatchclampError: neither, or both; a subject that reads no text.

    Example:
        >>> from patchclamp.organisms import superposition
        >>> open_source(None, None, superposition.make().recording).match("x")
        ['x']
    """
    if (recording is None) == (subject is None or corpus is None):
        raise PatchclampError(
            expected="a subject with a corpus, or a recording",
            got="both" if recording is not None else "a subject alone" if corpus is None else "a corpus alone",
            remedy="For example decompose(subject, corpus, site=…), or decompose(recording=…, site=…).",
        )
    if recording is not None:
        return RecordingSource(recording)
    if not hasattr(subject, "tokenize"):
        raise PatchclampError(
            expected="a language model, for a corpus of text",
            got=getattr(subject, "name", type(subject).__name__),
            remedy="Record other subjects, and give the recording.",
        )
    return TextSource(subject, corpus, batch_size=batch_size, engine=engine)


def make_basis(
    options: DictionaryOptions,
    method: str,
    subject: Any,
    corpus: Corpus | None,
    recording: Recording | StoredRecording | None,
    *,
    seed: int,
    progress: Progress,
) -> Basis:
    """Return the basis of the one site that options name: the result of every card of this room.

    Args:
        options: of the method; they name the site.
        method: its name.
        subject: a language model, with a corpus.
        corpus: a text.
        recording: activations instead of both.
        seed: of everything random.
        progress: called with activations done and in all.

    Returns:
        Basis: ``(feature, width)`` directions with their site.

    Raises:
        PatchclampError: as ``open_source``; a pattern of several sites.
    """
    source = open_source(subject, corpus, recording, batch_size=options.batch_size)
    sites = source.match(options.site)
    if len(sites) != 1:
        raise PatchclampError(
            expected="one site",
            got=f"{len(sites)}: {', '.join(sites[:4])}",
            remedy="patchclamp.decompose takes several.",
        )
    pair = (getattr(options, "reads", "") or sites[0], sites[0])
    made = options.make(source, [pair], Run(method, seed, progress=progress))
    return replace(made.bases[sites[0]], site=sites[0])


def measure_basis(basis: Basis, x: Float[np.ndarray, "row width"], most: int = 8192) -> dict[str, Any]:
    """Measure the unexplained share of variance, L0 and dead units of a basis on activations.

    Args:
        basis: the basis.
        x: ``(row, width)`` activations.
        most: most rows that are measured.

    Returns:
        dict: ``unexplained``, ``l0`` (units per vector) and ``dead`` (share of units), each as a curve of one point.

    Example:
        >>> x = np.eye(3, dtype=np.float32)
        >>> measure_basis(Basis("b", "directions", decoder=x), x)["l0"]
        [[3, 1.0]]
    """
    rows = torch.from_numpy(x[:: max(len(x) // most, 1)][:most])
    # A block at a time: solving for codes takes many copies of what it solves.
    unexplained = variance = n_on = 0.0
    fired, mean = torch.zeros(basis.n_units, dtype=torch.bool), rows.mean(0)
    with torch.no_grad():
        for part in rows.split(AT_ONCE):
            f = encode(basis, part)
            unexplained += float((part - decode(basis, f)).square().sum())
            variance += float((part - mean).square().sum())
            n_on += float((f != 0).sum())
            fired |= (f != 0).any(0)
    measures = {
        "unexplained": unexplained / max(variance, 1e-12),
        "l0": n_on / len(rows),
        "dead": float((~fired).float().mean()),
    }
    return {name: [[len(rows), value]] for name, value in measures.items()}
