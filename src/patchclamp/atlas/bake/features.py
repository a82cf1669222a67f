"""A dictionary becomes a layer of an atlas, with all that a neuron has: examples, histogram, neighbours."""

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from patchclamp.atlas.bake.concept_labels import as_documents, labels_of
from patchclamp.atlas.bake.cost import bake_cost
from patchclamp.atlas.bake.look import CHECKPOINT_S
from patchclamp.atlas.bake.neighbours import Method
from patchclamp.atlas.bake.passes import How, Log, run_passes
from patchclamp.atlas.bake.write_rows import TextUnits, write_rows
from patchclamp.atlas.read.reader import Reading
from patchclamp.atlas.store.layers import BASES, LAYERS, name_layer
from patchclamp.atlas.store.provenance import Run, host, now, versions
from patchclamp.atlas.store.sqlite_files import write_database
from patchclamp.attribute.features import PLAIN
from patchclamp.core.arguments import checked
from patchclamp.core.basis import ARRAYS, Basis
from patchclamp.core.checks import same_subject
from patchclamp.core.corpus import Corpus, check_counts
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.disk import file_hash, hold_folder, refuse_interrupted
from patchclamp.core.errors import PatchclampError
from patchclamp.core.site import Site
from patchclamp.core.subject import Progress
from patchclamp.evaluate.dictionary_metrics import check_subject
from patchclamp.record.features import Features
from patchclamp.record.heads import WithHeads, site_path
from patchclamp.record.run import pin_threads
from patchclamp.subjects.corpora import read_corpus
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.site_names import resolve_sites

MOST_STORED = 64 * 2**20
"""Bytes of a dictionary that a layer keeps; a larger one stays in its folder alone."""


@checked
def add_basis(
    atlas: str | Path,
    model: LanguageModel,
    dictionary: Dictionary,
    *,
    text: str | Path | None = None,
    max_tokens: int | None = None,
    batch_size: int | None = None,
    resume: bool = False,
    folder: str = "",
    command: str = "",
    progress: Progress | None = None,
    neighbours_progress: Progress | None = None,
    checkpoint_s: float = CHECKPOINT_S,
    neighbours: Method | None = None,
) -> str:
    """Add the features of a dictionary to an atlas as a layer, each with what a neuron has.

    Two passes over the text, as for a bake, with the window and seed of the base.

    Args:
        atlas: the atlas's folder.
        model: its model.
        dictionary: bases by the site that each writes.
        text: a UTF-8 file, plain or labelled (default: the one that was baked).
        max_tokens: stop after so many (default: the base's number, where the text is the same).
        batch_size: stimuli per forward pass (default: the base's).
        resume: go on with an interrupted run.
        folder: where the dictionary is kept, for the run's record.
        command: what was typed, likewise.
        progress: called with tokens done and tokens in all, of both passes.
        neighbours_progress: called with units done and units in all, while neighbours are sought.
        checkpoint_s: seconds between checkpoints.
        neighbours: how they are found, as for a bake (default: as those of the base were).

    Returns:
        str: the layer's id. The same dictionary over the same text is the same layer, and is not computed again.

    Raises:
        PatchclampError: another model, a basis that does not fit its site, a name that units of the atlas have already,
            no text, a full disk, or a resume that does not fit.

    Cost: two forward passes per batch and a product with every encoder; memory some 11 kB per feature, disk 10 kB.
    """
    began = now()
    place, reading = Path(atlas), Reading(Path(atlas))
    dictionary = resolve_sites(model, dictionary)
    _check(reading, model, dictionary)
    corpus, batch_size, seed = read_again(reading, text, max_tokens, batch_size)
    digest = dictionary_hash(dictionary)
    for part in reading.parts[1:]:
        kept = part.about["dictionary"]["hash"], part.about["corpus"]["hash"], part.about["plan"]["max_tokens"]
        if kept == (digest, file_hash(corpus.path), corpus.max_tokens):
            _clear(staging_of(place) / digest[:16])  # a kill may come after the last step
            return part.id
    _refuse_names(reading, dictionary)
    features = Features(model, dictionary.bases)
    sites = features.sites()
    aside = staging_of(place) / digest[:16]
    refuse_interrupted(aside, "features", resume=resume)
    # Cut before the folder is made: a text or a number that is refused leaves nothing behind.
    batches = read_corpus(model, as_documents(corpus), batch_size=batch_size)
    with hold_folder(aside):
        log = Log([f"{batches.n_tokens:,} tokens in {batches.n_stimuli:,} stimuli, {count_units(sites):,} features"])
        base = WithHeads(model)
        units = TextUnits.of(features, sites, [base.site(site_path(row[1], row[4])) for row in reading.parts[0].sites])
        method: Any = neighbours or reading.about.get("neighbours", {}).get("method")
        how = How(resume, seed, checkpoint_s, method, progress, neighbours_progress)
        passes = run_passes(features, batches, sites, units, aside, how, log)
        passing = place / LAYERS / "new-basis.sqlite"
        schema = files("patchclamp.atlas.store").joinpath("schema.sql").read_text()
        hashes = {"model": model.hash, "text": passes.survey.bundle.manifest["plan"]["text"], "dictionary": digest}
        with pin_threads(passes.survey.bundle), hold_folder(passing.parent, wait=True):
            with write_database(passing, f"{schema}\n{BASES}") as db:
                write_rows(db, units, batches, passes, labels_of(model, batches))
                _fill_bases(db, dictionary, digest, reading)
            log.note("layer written")
            run = _run_of(place, dictionary, folder, command, corpus, sites, batch_size, seed, hashes, began, log)
            layer_id = name_layer(place, "basis", passing, run)
    _clear(aside)
    return layer_id


def _run_of(
    place: Path,
    dictionary: Dictionary,
    folder: str,
    command: str,
    corpus: Corpus,
    sites: Sequence[Site],
    batch_size: int,
    seed: int,
    hashes: dict[str, str],
    began: str,
    log: Log,
) -> Run:
    typed = command or f"patchclamp atlas add {place} --basis {folder} --inputs {corpus.source}"
    options = {
        "basis": folder,
        "name": dictionary.name,
        "method": dictionary.method,
        "text": corpus.source,
        "sites": ", ".join(site.path for site in sites),
        "window": corpus.window,
        "chat": corpus.kind == "chat",
        "bos": corpus.bos,
        "skip_first": corpus.skip_first,
        "max_tokens": corpus.max_tokens,
        "batch_size": batch_size,
        "seed": seed,
    }
    return Run(
        verb="atlas add",
        command=typed,
        made=f"{count_units(sites):,} features of {dictionary.name}",
        began=began,
        duration_s=log.seconds,
        host=host(),
        versions=versions("torch", "transformers"),
        seeds={"seed": seed},
        hashes=hashes,
        options={n: str(v) for n, v in options.items() if v not in (None, "")},
        log=tuple(log.lines),
        rebuild=f"pip install patchclamp=={versions()['patchclamp']}\n{typed}\n",
    )


def count_units(sites: Sequence[Site]) -> int:
    """Return how many units sites have together."""
    return sum(site.width for site in sites)


def _clear(aside: Path) -> None:
    """Remove what was built aside, and its folder where nothing else is built there."""
    shutil.rmtree(aside, ignore_errors=True)
    with suppress(OSError):
        aside.parent.rmdir()


def staging_of(folder: Path) -> Path:
    """Return where features are surveyed until their layer is whole."""
    return folder.resolve().with_name(folder.resolve().name + ".adding")


def dictionary_hash(dictionary: Dictionary) -> str:
    """SHA-256 over the name, and over every basis with its site."""
    content = [dictionary.name, *sorted([site, basis.hash] for site, basis in dictionary.bases.items())]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def estimate_bytes(model: LanguageModel, dictionary: Dictionary) -> tuple[int, int, int]:
    """Return the bytes of memory and of disk that adding takes, about, and how many of these are the arrays kept."""
    features = Features(model, dictionary.bases)
    cost = bake_cost(features, features.sites())
    size = array_bytes(dictionary)
    kept = size if _is_stored(dictionary) else 0
    return cost.memory, cost.disk + kept, kept


def check_basis(
    atlas: str | Path, model: LanguageModel, dictionary: Dictionary, *, text: str | Path | None = None
) -> None:
    """Refuse what ``add_basis`` refuses before it runs anything.

    Raises:
        PatchclampError: another model, a basis that does not fit its site, no text.
    """
    reading = Reading(Path(atlas))
    _check(reading, model, dictionary)
    read_again(reading, text, None, None)


def array_bytes(dictionary: Dictionary) -> int:
    """Return the size of a dictionary's arrays."""
    arrays = [getattr(basis, name) for basis in dictionary.bases.values() for name in ARRAYS]
    arrays += [array for basis in dictionary.bases.values() for array in basis.further.values()]
    return sum(array.nbytes for array in arrays if array is not None)


def _is_stored(dictionary: Dictionary) -> bool:
    """Return whether an atlas keeps a dictionary's arrays: small ones, of units that write one site each."""
    writes_further = any(basis.further for basis in dictionary.bases.values())
    return array_bytes(dictionary) <= MOST_STORED and not writes_further


def _check(reading: Reading, model: LanguageModel, dictionary: Dictionary) -> None:
    remedy = "Name the model that the atlas was baked from with --model."
    same_subject(model, reading.about, what="an atlas", remedy=remedy, required=True)
    check_subject(model, dictionary)


def _refuse_names(reading: Reading, dictionary: Dictionary) -> None:
    """Refuse features whose keys units of the atlas have.

    Raises:
        PatchclampError: the name is taken at one of the sites.
    """
    taken = [
        path
        for path, basis in ((row[1], row[4]) for row in reading.sites)
        if basis == dictionary.name and path in dictionary.bases
    ]
    if taken or dictionary.name in PLAIN:
        raise PatchclampError(
            expected=f"a basis whose name is not yet taken at {', '.join(list(dictionary.bases)[:3])}",
            got=f"{dictionary.name!r}, which this atlas has: another dictionary, or this one over another text",
            remedy="Give it another name, remove the layer that has it, or bake an atlas for the other text.",
        )


def read_again(
    reading: Reading, text: str | Path | None, max_tokens: int | None, batch_size: int | None
) -> tuple[Corpus, int, int]:
    """Return a text cut as the baked one was, with batch size and seed.

    Returns:
        tuple[Corpus, int, int]: the text, stimuli per forward pass, and the seed.

    Raises:
        PatchclampError: no text was named, and the baked one is not where it was; counts below 1.
    """
    check_counts({"max_tokens": max_tokens, "batch_size": batch_size})
    plan, baked = reading.about["plan"], reading.about["corpus"]["hash"]
    if text is None:
        remembered = reading.runs[reading.base_run].options.get("text", "")
        path = Path(remembered)
        if not remembered or not path.is_file() or file_hash(path) != baked:
            raise PatchclampError(
                expected=f"the text that was baked, {reading.about['corpus']['name']}",
                got=f"{remembered or 'no path'}, where it is no more",
                remedy="Name a text with --inputs.",
            )
        text = path
    chosen = Path(text)
    if not chosen.is_file():
        raise PatchclampError(expected="a text", got=f"{chosen}, which is no file", remedy="Check the path.")
    same = file_hash(chosen) == baked
    corpus = Corpus(
        chosen,
        "chat" if plan["chat"] else "text",
        window=plan["window"],
        bos=plan["bos"],
        skip_first=plan.get("skip_first", 0),
        max_tokens=(plan["max_tokens"] if same else None) if max_tokens is None else max_tokens,
    )
    return corpus, plan["batch_size"] if batch_size is None else batch_size, plan["seed"]


def _fill_bases(db: sqlite3.Connection, dictionary: Dictionary, digest: str, reading: Reading) -> None:
    about: Mapping[str, Any] = {
        "kind": "basis",
        "dictionary": {
            "name": dictionary.name,
            "method": dictionary.method,
            "hash": digest,
            "subject": dict(dictionary.subject),
            "about": dict(dictionary.about),
            "curves": dict(dictionary.curves),
        },
        "beside": {"base": reading.head["base"], "units": reading.parts[0].n, "sites": len(reading.parts[0].sites)},
    }
    db.executemany("INSERT INTO about VALUES (?, ?)", [(n, json.dumps(v, sort_keys=True)) for n, v in about.items()])
    whole = _is_stored(dictionary)
    numbers = dict(db.execute("SELECT path, id FROM sites"))
    for site, basis in dictionary.bases.items():
        values = (numbers[site], basis.activation, basis.k, basis.reads, basis.hash)
        db.execute("INSERT INTO bases VALUES (?, ?, ?, ?, ?)", values)
        for name in ARRAYS if whole else ():
            _fill_array(db, numbers[site], name, basis)


def _fill_array(db: sqlite3.Connection, site: int, name: str, basis: Basis) -> None:
    array = getattr(basis, name)
    if array is not None:
        plain = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        shape = json.dumps(list(array.shape))
        db.execute("INSERT INTO arrays VALUES (?, ?, ?, ?, ?)", (site, name, plain.dtype.str, shape, plain.tobytes()))
