"""Describe the units of an atlas: its model reads its text, and words with scores become a layer."""

import fnmatch
import hashlib
import json
import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from patchclamp.atlas.bake.concept_labels import as_documents
from patchclamp.atlas.bake.features import read_again
from patchclamp.atlas.read.attached_layers import part_bases
from patchclamp.atlas.read.reader import Reading
from patchclamp.atlas.read.recorded import RECORDING
from patchclamp.atlas.store.layers import write_descriptions
from patchclamp.atlas.store.provenance import Run, host, now, versions
from patchclamp.core.arguments import Natural, Positive, checked
from patchclamp.core.basis import Basis
from patchclamp.core.checks import same_subject
from patchclamp.core.corpus import Corpus
from patchclamp.core.disk import refuse_interrupted
from patchclamp.core.errors import PatchclampError
from patchclamp.core.site import listed_patterns
from patchclamp.core.subject import Progress
from patchclamp.core.unit import UnitKey
from patchclamp.describe.evidence import EvidenceOptions
from patchclamp.describe.judge import Judge
from patchclamp.recipes.describe_units import (
    SCORERS,
    DescribedUnits,
    DescriptionPlan,
    describe_units,
    plan_description,
)

PLAIN = ("neurons", "channels")


@dataclass(frozen=True)
class AtlasText:
    """What is read to describe units of an atlas.

    Args:
        corpus: the text, cut into windows of evidence.
        units: patterns of sites, and keys, that the atlas has.
        bases: the features that it keeps, by the site that they write.
        seed: that of the bake.
        batch_size: likewise.
    """

    corpus: Corpus
    units: tuple[str, ...]
    bases: dict[str, Basis]
    seed: int
    batch_size: int


@checked
def describe(
    atlas: str | Path,
    model: Any,
    *,
    units: str | Sequence[str] | None = None,
    text: str | Path | None = None,
    max_tokens: int | None = None,
    method: str = "rule",
    scorers: Sequence[str] = SCORERS,
    judge: Judge | None = None,
    evidence: EvidenceOptions | None = None,
    batch_size: Positive | None = None,
    seed: Natural | None = None,
    resume: bool = False,
    command: str = "",
    progress: Progress | None = None,
    text_progress: Progress | None = None,
    **options: Any,
) -> str:
    """Describe units of an atlas and score the words, and add both as a layer.

    What is done on the way lies beside the atlas, in ``NAME.describing``, until the layer is whole.

    Args:
        atlas: the atlas's folder.
        model: its model.
        units: patterns of sites such as ``blocks.0.mlp.act``, or keys (default: all units of the atlas).
        text: a UTF-8 file, plain or labelled (default: the one that was baked).
        max_tokens: stop after so many (default: the base's number, where the text is the same).
        method: who describes: ``rule``, which needs nothing, or ``llm``.
        scorers: who scores: ``detection``, ``fuzzing`` and others; see ``patchclamp methods --room describe``.
        judge: who answers the scorers; a rule matcher by default.
        evidence: which windows are drawn.
        batch_size: windows per forward pass (default: the base's).
        seed: of everything random (default: the base's).
        resume: go on with an interrupted run.
        command: what was typed, for the run's record.
        progress: called with units done and in all.
        text_progress: called with tokens done and in all, of both passes.
        options: of the method; see ``patchclamp methods describe/NAME``.

    Returns:
        str: the layer's id. The same descriptions are the same layer.

    Raises:
        PatchclampError: another model, units that the atlas has not, no text, no unit with evidence, or a resume that
            does not fit.

    Cost: two forward passes over the text; then some milliseconds per unit of rules, or what a language model takes.
    """
    place, began, clock = Path(atlas), now(), time.monotonic()
    reading = Reading(place)
    read = read_for(reading, model, units, text=text, max_tokens=max_tokens, batch_size=batch_size)
    chosen = read.seed if seed is None else seed
    asked = {"units": list(read.units), "text": asdict(read.corpus), "method": method, "seed": chosen}
    digest = hashlib.sha256(json.dumps([model.hash, asked, reading.head["base"]]).encode()).hexdigest()
    aside = place.resolve().with_name(place.resolve().name + ".describing") / digest[:16]
    refuse_interrupted(aside, "descriptions", resume=resume)
    found = describe_units(
        model, read.corpus, read.units, folder=aside, method=method, scorers=scorers, judge=judge, evidence=evidence,
        bases=read.bases, batch_size=read.batch_size, seed=chosen, resume=resume, progress=progress,
        text_progress=text_progress, **options,
    )  # fmt: skip
    run = run_of(reading, read.corpus, found, began, time.monotonic() - clock, command=command, seed=chosen, **options)
    layer_id = write_described(place, found, run)
    shutil.rmtree(aside, ignore_errors=True)
    with suppress(OSError):
        aside.parent.rmdir()
    return layer_id


@checked
def plan(
    atlas: str | Path,
    model: Any,
    *,
    units: str | Sequence[str] | None = None,
    text: str | Path | None = None,
    max_tokens: int | None = None,
    method: str = "rule",
    scorers: Sequence[str] = SCORERS,
    evidence: EvidenceOptions | None = None,
    batch_size: Positive | None = None,
) -> DescriptionPlan:
    """Return what ``describe`` will do, for the same arguments.

    Returns:
        DescriptionPlan: units, windows, tokens, passes, memory, disk, time.

    Raises:
        PatchclampError: as ``describe``, before anything is computed.

    Cost: one tokenisation of the text, and two forward passes of one batch.
    """
    read = read_for(Reading(Path(atlas)), model, units, text=text, max_tokens=max_tokens, batch_size=batch_size)
    return plan_description(
        model, read.corpus, read.units, method=method, scorers=scorers, evidence=evidence, bases=read.bases,
        batch_size=read.batch_size,
    )  # fmt: skip


def read_for(
    reading: Reading,
    model: Any,
    units: str | Sequence[str] | None,
    *,
    text: str | Path | None = None,
    max_tokens: int | None = None,
    batch_size: int | None = None,
) -> AtlasText:
    """Return what is read to describe units of an atlas, checked.

    Returns:
        AtlasText: the corpus, the units as patterns and keys, and their bases.

    Raises:
        PatchclampError: another model, units that the atlas has not, a recording, or no text.
    """
    if reading.about["modality"] == RECORDING:
        raise PatchclampError(
            expected="an atlas of a model", got="one of a recording", remedy="A recording reads no text."
        )
    remedy = "Name the model that the atlas was baked from with --model."
    same_subject(model, reading.about, what="an atlas", remedy=remedy, required=True)
    reading.require_text("descriptions are mined from windows of tokens")
    kept = {site: basis for part in reading.parts[1:] for site, basis in part_bases(reading.rows, part.schema)}
    names = {row[1] if row[4] in PLAIN else f"{row[1]}/{row[4]}": row for row in reading.sites}
    chosen = tuple(names) if units is None else tuple(_find(reading, names, units))
    bases = {
        site: basis for site, basis in kept.items() if any(one.startswith(f"{site}/{basis.name}") for one in chosen)
    }
    corpus, size, seed = read_again(reading, text, max_tokens, batch_size)
    return AtlasText(as_documents(replace(corpus, window=None)), chosen, bases, seed, size)


def _find(reading: Reading, names: Mapping[str, Any], units: str | Sequence[str]) -> list[str]:
    """Return patterns and keys as names of sites and local keys that the atlas has."""
    found: dict[str, None] = {}
    for one in listed_patterns(units) if isinstance(units, str) else units:
        if one.rpartition("/")[2].isdigit() and one.count("/") >= 2:
            key = reading.key(reading.index_of(one))
            found[str(UnitKey(key.site, key.index, key.basis))] = None
            continue
        path, _, basis = one.strip().partition("/")
        fits = [name for name, row in names.items() if basis in ("", row[4])]
        matching = [name for name in fits if fnmatch.fnmatchcase(names[name][1], path)]
        if not matching:
            raise PatchclampError(
                expected=f"sites of the atlas, such as {', '.join(list(names)[:3])}, or keys of its units",
                got=repr(one),
                remedy="`patchclamp atlas info ATLAS` lists its sites.",
            )
        found |= dict.fromkeys(matching)
    return list(found)


def write_described(folder: Path, found: DescribedUnits, run: Run) -> str:
    """Add what was described to an atlas as a layer.

    Returns:
        str: the layer's id.
    """
    return write_descriptions(folder, found.descriptions, failures=found.failures, scoring=found.scoring, run=run)


def run_of(
    reading: Reading,
    corpus: Corpus,
    found: DescribedUnits,
    began: str,
    seconds: float,
    *,
    command: str = "",
    seed: int = 0,
    **options: Any,
) -> Run:
    """Return how descriptions came to be.

    Returns:
        Run: as a layer's run remembers it.
    """
    scoring = found.scoring
    n = sum(1 for place in range(len(found.descriptions)) if found.descriptions.text(place))
    typed = command or shlex.join(["patchclamp", "describe", str(reading.folder), "--method", scoring.method])
    times = {f"seconds of {row.scorer}": f"{row.seconds:.3f}" for row in scoring.rows}
    asked = {"method": scoring.method, "text": corpus.source, "max_tokens": corpus.max_tokens, **options}
    return Run(
        verb="describe",
        command=typed,
        made=f"descriptions of {n:,} units by {found.descriptions.author}",
        began=began,
        duration_s=round(seconds, 3),
        host=host(),
        versions=versions("torch", "transformers"),
        seeds={"seed": seed},
        hashes={"model": str(reading.about["subject"]["hash"])},
        options={name: str(value) for name, value in {**asked, **times}.items() if value not in (None, "")},
        log=(
            f"{n:,} units described in {scoring.seconds:.1f} s",
            *(f"{name}: {n_units:,} units without a description" for name, n_units in scoring.failed.items()),
            *(f"{row.name}: {row.described}" for row in scoring.rows),
        ),
        rebuild=f"pip install patchclamp=={versions()['patchclamp']}\n{typed}\n",
    )
