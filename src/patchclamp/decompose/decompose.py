"""Decompose a site's activations into directions by any method of this room."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.corpus import Corpus
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.disk import refuse_occupied
from patchclamp.core.errors import PatchclampError
from patchclamp.core.method import Method
from patchclamp.core.method_files import find_method
from patchclamp.core.method_index import find_default
from patchclamp.core.recording import Recording, StoredRecording
from patchclamp.core.subject import Progress
from patchclamp.decompose.activation_store import ActivationSource, collect_activations
from patchclamp.decompose.fitting import DictionaryOptions, Need, Pairs, Run, measure_basis, open_source
from patchclamp.decompose.training import BEGUN
from patchclamp.decompose.transcoding import mlp_sites
from patchclamp.engines import Engine


@checked
def decompose(
    subject: Any = None,
    corpus: Any = None,
    *,
    site: str = "",
    method: str | Method | None = None,
    recording: Recording | StoredRecording | None = None,
    transcode: str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    seed: Natural = 0,
    progress: Progress | None = None,
    state: Callable[[Need], None] | None = None,
    engine: Engine | None = None,
    **options: Any,
) -> Dictionary:
    """Decompose what sites do into directions, and return one basis a site.

    Args:
        subject: a language model; or a recording, and then no corpus.
        corpus: a Corpus of text that it reads, or the path of a text.
        site: site paths or patterns, joined by commas; of a recording with one site that one by default.
        method: a method of the room ``decompose`` by name, or one of your own; ``topk`` by default.
        recording: activations that were recorded, in the place of subject and corpus.
        transcode: instead of ``site``: blocks such as ``3``, ``0,2`` or ``*``, from what their MLPs read to what they
            write.
        out: a new or empty folder to keep the dictionary in; it is only returned by default.
        resume: go on with an interrupted training in ``out``.
        seed: of everything random.
        progress: called with activations done and in all.
        state: called with what it takes, before it begins.
        engine: where the subject reads the corpus, from ``open_engine``; this process by default. The features are made
            here, from the same activations.
        options: of the method; see ``patchclamp methods decompose/NAME``.

    Returns:
        Dictionary: a basis for every site, with curves and what first tokens hide.

    Raises:
        PatchclampError: an unknown method or option, a method that does not transcode or cannot be resumed, sites that
            do not exist, too few activations or too little memory.

    Cost: stated by the method's card; sparse coders read the activations of all sites in one pass.

    Example:
        >>> import numpy as np
        >>> from patchclamp import Recording, Site, Stimulus
        >>> values = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
        >>> rows = Recording((Stimulus.of(np.arange(64)),), {"x": values}, {"x": Site("x", "x", 4)})
        >>> decompose(rows, method="pca", n_features=2).bases["x"].decoder.shape
        (2, 4)
    """
    if isinstance(subject, Recording | StoredRecording):
        subject, recording = None, subject
    chosen = find_method(method or find_default("decompose"), "decompose")
    run = Run(chosen.name, seed, None if out is None else Path(out), resume, progress, state or (lambda _need: None))
    if resume and (out is None or not chosen.resumable):
        raise PatchclampError(
            expected="resume with a folder and a method that can be resumed",
            got=f"{chosen.name}{'' if out is not None else ' without a folder'}",
            remedy="Leave it out, or choose another method.",
        )
    if out is not None:
        refuse_occupied(Path(out), begun=BEGUN if chosen.resumable else (), resume=resume)
    if subject is not None:
        chosen.refuse(subject)
    if not issubclass(chosen.options, DictionaryOptions):
        return _run_card(chosen, subject, corpus, recording, site, run, options)
    made = chosen.make_options(options)
    source = open_source(subject, corpus, recording, batch_size=made.batch_size, engine=engine)
    return made.make(source, _pairs(source, site, transcode, made), run)


def _pairs(source: ActivationSource, site: str, transcode: str | None, options: DictionaryOptions) -> Pairs:
    """Return the sites that are read and written."""
    reads = getattr(options, "reads", None)
    if transcode is None:
        paths = source.match(site)
        if getattr(options, "skip_connection", False) and not reads:
            raise PatchclampError(
                expected="--skip-connection with --transcode", got="--sites", remedy="Leave it out, or transcode."
            )
        if reads and len(paths) != 1:
            raise PatchclampError(
                expected="one site that is written from the one that is read",
                got=f"{len(paths)}: {', '.join(paths[:4])}",
                remedy="Name one.",
            )
        return [(reads or path, path) for path in paths]
    model = getattr(source, "model", None)
    if reads is None or model is None:
        raise PatchclampError(
            expected="transcode with a language model and a method that reads one site and writes another",
            got="a method or a recording that does not",
            remedy="Give a site, or choose another method.",
        )
    return [mlp_sites(model, layer) for layer in _layers(transcode, model.n_layers)]


def _layers(text: str, n_layers: int) -> list[int]:
    if text.strip() == "*":
        return list(range(n_layers))
    try:
        return list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError as problem:
        raise PatchclampError(
            expected="blocks' numbers, joined by commas, or '*'", got=repr(text), remedy="Such as --transcode 3."
        ) from problem


def _run_card(
    method: Method, subject: Any, corpus: Corpus, recording: Any, site: str, run: Run, options: Any
) -> Dictionary:
    """Return what a method of one's own gives, whose options are of any class with a ``site``."""
    source = open_source(subject, corpus, recording)
    nouns = {"subject": subject, "corpus": corpus} if recording is None else {"recording": recording}
    bases, curves = {}, {}
    for path in source.match(site):
        bases[path] = method(**nouns, site=path, seed=run.seed, progress=run.progress, **options)
        curves[path] = measure_basis(bases[path], collect_activations(source, path))
    made = Dictionary(bases, dict(source.subject), method.name, {"plan": dict(source.about)}, curves)
    if run.out is not None:
        made.save(run.out)
    return made
