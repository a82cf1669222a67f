"""From a model and a text, or images, to the base of an atlas, built aside and renamed when it is whole."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from patchclamp.atlas.bake.concept_labels import as_documents, labels_of
from patchclamp.atlas.bake.look import CHECKPOINT_S
from patchclamp.atlas.bake.neighbours import Method
from patchclamp.atlas.bake.passes import How, Log, Passes, run_passes
from patchclamp.atlas.bake.pictures import PictureRows, default_sites, schema, write_picture_rows
from patchclamp.atlas.bake.write_rows import TextUnits, about_neighbours, write_rows
from patchclamp.atlas.store.provenance import Run, host, now, versions, write_run
from patchclamp.atlas.store.sqlite_files import (
    BASE,
    HASHED,
    OF_OTHERS,
    content_hash,
    open_database,
    read_head,
    staging_path,
    write_database,
    write_head,
)
from patchclamp.core.arguments import Natural, checked
from patchclamp.core.corpus import Corpus
from patchclamp.core.disk import file_hash, hold_folder, refuse_interrupted, refuse_write
from patchclamp.core.errors import PatchclampError
from patchclamp.core.site import Site
from patchclamp.core.subject import Progress
from patchclamp.engines import Engine
from patchclamp.record.heads import WithHeads, has_heads, is_heads
from patchclamp.record.picture_units import PictureUnits
from patchclamp.record.run import pin_threads
from patchclamp.subjects.corpora import read_corpus
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.language_lacks import refuse_no_tokens
from patchclamp.subjects.recordable import select_recordable
from patchclamp.subjects.vision import VisionModel

SITES = ("blocks.*.mlp.act", "blocks.*.attn.z/heads")


@checked
def bake_atlas(
    model: LanguageModel | VisionModel,
    corpus: Corpus | str | Path,
    out: str | Path,
    *,
    sites: str | Sequence[str] | None = None,
    resume: bool = False,
    name: str | None = None,
    command: str = "",
    progress: Progress | None = None,
    neighbours_progress: Progress | None = None,
    engine: Engine | None = None,
    checkpoint_s: float = CHECKPOINT_S,
    batch_size: int = 8,
    seed: Natural = 0,
    neighbours: Method | None = None,
) -> str:
    """Bake an atlas: every neuron and head, with examples, histogram, what it writes and reads, and neighbours.

    Two passes over the text: a survey, and one that knows where each unit ranges. Labelled text (JSON lines of
    ``text tokens concepts``) also gives every unit the concepts that it tells. Of a model of images the units are
    channels, neurons and heads, their examples places on pictures, and labels of the pictures take the concepts' place.

    Args:
        model: the subject.
        corpus: of text, plain or labelled, or of images; or the path of one.
        out: the atlas's folder, which must not exist; it is built in ``OUT.baking`` and renamed.
        sites: site paths or patterns, ``/heads`` behind those whose heads are meant (default: ``SITES``, and of images
            what ``default_sites`` says).
        resume: go on with an interrupted bake; the result is the same.
        name: what the model was loaded by, where that is not its slug.
        command: what was typed, for the run's record.
        progress: called with tokens done and tokens in all, of both passes.
        neighbours_progress: called with units done and units in all, while neighbours are sought.
        engine: where the model is shown the text, from ``open_engine``; this process by default. It does not change the
            result. Neighbours, and what weights alone say, are found here.
        checkpoint_s: seconds between checkpoints.
        batch_size: stimuli per forward pass.
        seed: of samples and of the pieces that are kept.
        neighbours: ``exact`` compares all pairs of units; ``approximate`` chooses pairs by shorter vectors,
            and the atlas says how many of the nearest that finds; ``none`` leaves them out. Default: exact up to
            65,536 units, approximate above.

    Returns:
        str: content hash of the base: the same model, text and options give the same.

    Raises:
        PatchclampError: unknown sites, no text, a folder that exists, a full disk, or a resume that does not fit.

    Cost: two forward passes per batch, stopped at the last site, and some over a sample; time linear in units but for
    the neighbours, which compare all pairs (40 thousand units of width 768 take a minute and a half on one core);
    memory some 13 kB per unit for the passes, 1 GB at most, whatever the text's length, and of constant size for
    neighbours and panels. ``bake_cost`` says how much.
    """
    began = now()
    folder = Path(out)
    aside = staging_path(folder)
    refuse_baked(folder, resume=resume)
    refuse_no_tokens(model, "an atlas, which shows next tokens")
    images = model.stimulus_kind == "images"
    corpus = corpus if isinstance(corpus, Corpus) else Corpus(corpus, "images" if images else "text")
    check_kind(model, corpus)
    if folder.exists():
        return _hash_if_finished(folder, aside, model, corpus)
    subject, chosen, read = units_of(model, sites)
    how = How(resume, seed, checkpoint_s, neighbours, progress, neighbours_progress, engine)
    with hold_folder(aside), tidy_staging(aside):
        batches = read_corpus(model, corpus if images else as_documents(corpus), batch_size=batch_size)
        shown = "pictures" if images else f"stimuli, {batches.n_tokens:,} tokens"
        log = Log([f"{batches.n_stimuli:,} {shown}, {sum(s.width for s in chosen):,} units"])
        whole = aside / "atlas"
        shutil.rmtree(whole, ignore_errors=True)
        if isinstance(subject, PictureUnits):
            pictures = PictureRows(subject, chosen)
            passes = run_passes(subject, batches, read, pictures, aside, how, log)
            with pin_threads(passes.survey.bundle), write_database(whole / BASE, schema()) as db:
                write_picture_rows(db, pictures, batches, passes)
        else:
            units = TextUnits.of(subject, chosen)
            passes = run_passes(subject, batches, read, units, aside, how, log)
            labels = labels_of(subject.model, batches)
            script = files("patchclamp.atlas.store").joinpath("schema.sql").read_text()
            with pin_threads(passes.survey.bundle), write_database(whole / BASE, script) as db:
                write_rows(db, units, batches, passes, labels)
        atlas_hash = write_base_head(whole)
        log.note("base written")
        run = _run_of(atlas_hash, model, name, passes, corpus, chosen, command, folder, began, log)
        write_run(whole, f"base-{atlas_hash[:16]}", run)
        try:
            whole.rename(folder)
        except OSError as problem:
            raise refuse_write(folder, problem) from problem
    shutil.rmtree(aside, ignore_errors=True)
    return atlas_hash


def check_kind(model: Any, corpus: Corpus) -> None:
    """Refuse text for a model of images, images for a language model, and a network of arrays.

    Raises:
        PatchclampError: they do not fit.
    """
    of_images = corpus.kind == "images"
    if model.stimulus_kind != ("images" if of_images else "text"):
        takes = {"images": "a model of images", "text": "a language model"}
        raise PatchclampError(
            expected=f"{'images' if model.stimulus_kind == 'images' else 'text'} for "
            f"{takes.get(model.stimulus_kind, 'a language model or a model of images')}",
            got=f"{'images' if of_images else 'a text'}, {corpus.source}, for {model.name}",
            remedy="Name what it takes with --inputs.",
        )


def units_of(
    model: LanguageModel | VisionModel, sites: str | Sequence[str] | None = None
) -> tuple[WithHeads | PictureUnits, list[Site], list[Site]]:
    """Return the subject whose units are baked, the sites that patterns name, and these as a pass reads them.

    Args:
        model: the subject.
        sites: site paths or patterns; None for those of ``SITES`` that the model has, and of images the usual ones.

    Raises:
        PatchclampError: a pattern names nothing, or what has no one vector per place.
    """
    if model.stimulus_kind == "images":
        pictures = PictureUnits(cast(VisionModel, model))
        chosen = select_recordable(pictures, default_sites(pictures.model) if sites is None else sites)
        return pictures, chosen, chosen
    if sites is None:
        sites = SITES if any(map(has_heads, model.sites())) else SITES[:1]
    text = cast(LanguageModel, model)
    chosen = select_recordable(WithHeads(text), sites)
    units = WithHeads(text, [site for site in chosen if is_heads(site)])
    return units, chosen, units.read_as(chosen)


def refuse_baked(out: str | Path, *, resume: bool) -> None:
    """Refuse, before anything is loaded, a place where an atlas or a half-baked one is, unless it is gone on with.

    Raises:
        PatchclampError: it is there.
    """
    folder, aside = Path(out), staging_path(Path(out))
    if not folder.exists():
        refuse_interrupted(aside, "a bake", resume=resume)
    elif not resume:
        raise PatchclampError(
            expected="a folder that does not exist yet",
            got=f"{folder}, which does",
            remedy="Add --resume to end the interrupted bake, or choose another --out."
            if aside.exists()
            else "Choose another --out.",
        )


def _hash_if_finished(folder: Path, aside: Path, model: LanguageModel | VisionModel, corpus: Corpus) -> str:
    """Return the hash of an atlas that is whole already: a kill may come after the last step."""
    head = read_head(folder)
    with closing(open_database(folder / BASE)) as db:
        about = {n: json.loads(v) for n, v in db.execute("SELECT * FROM about WHERE name IN ('subject', 'corpus')")}
    kept = (about["subject"]["hash"], about["corpus"]["hash"])
    if kept != (model.hash, _content(model, corpus)):
        raise PatchclampError(
            expected=f"the model and the {'images' if corpus.kind == 'images' else 'text'} of this atlas",
            got=f"{folder}, an atlas of {about['subject']['slug']} over {about['corpus']['name']}",
            remedy="Choose another --out.",
        )
    shutil.rmtree(aside, ignore_errors=True)
    return str(head["base"])


def _content(model: LanguageModel | VisionModel, corpus: Corpus) -> str:
    """Return the hash of what a corpus holds."""
    if corpus.kind != "images":
        return file_hash(corpus.path)
    read = read_corpus(model, corpus).corpus
    return "" if read is None else read.content


@contextmanager
def tidy_staging(aside: Path) -> Iterator[None]:
    """Leave no empty folder behind where nothing was begun."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            aside.rmdir()
        raise


def write_base_head(whole: Path) -> str:
    """Hash the base and write what it is."""
    with closing(open_database(whole / BASE)) as db:
        there = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
        base_hash = content_hash(db, (*HASHED, *(name for name in OF_OTHERS if name in there)))
    write_head(whole, base_hash, file_hash(whole / BASE))
    return base_hash


def _run_of(
    found: str,
    model: LanguageModel | VisionModel,
    name: str | None,
    passes: Passes,
    corpus: Corpus,
    sites: Sequence[Site],
    command: str,
    folder: Path,
    began: str,
    log: Log,
) -> Run:
    plan = passes.survey.bundle.manifest["plan"]
    options: dict[str, Any] = {
        "model": name or model.name,
        ("images" if corpus.kind == "images" else "text"): corpus.source,
        "sites": ", ".join(s.path for s in sites),
        **{option: plan.get(option) for option in ("window", "max_tokens", "max_images", "batch_size", "threads")},
        "device": model.device.type,
        "neighbours": about_neighbours(passes.near)["method"],
    }
    typed = command or f"patchclamp atlas bake {name or model.name} --inputs {corpus.source} --out {folder}"
    return Run(
        verb="atlas bake",
        command=typed,
        made=f"the base: {sum(s.width for s in sites):,} units",
        began=began,
        duration_s=log.seconds,
        host=host(),
        versions=versions("torch", "transformers"),
        seeds={"seed": plan["seed"]},
        hashes={"model": model.hash, **model.origin, **_input_hashes(model, plan), "base": found},
        options={k: str(v) for k, v in options.items() if v is not None},
        log=tuple(log.lines),
        rebuild=f"pip install patchclamp=={versions()['patchclamp']}\n{typed}\n",
    )


def _input_hashes(model: LanguageModel | VisionModel, plan: dict[str, Any]) -> dict[str, str]:
    if model.stimulus_kind == "images":
        return {**model.input_hashes, "images": plan["stimuli"]}
    return {"tokenizer": cast(LanguageModel, model).tokenizer_hash, "text": plan["text"]}
