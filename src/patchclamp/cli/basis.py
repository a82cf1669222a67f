"""Basis: say what a dictionary holds, judge it, compare two, write one for another library."""

from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from patchclamp.cli import basis_tables as tables
from patchclamp.cli.main import emit
from patchclamp.cli.progress import Meter
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.errors import PatchclampError

WINDOW = 128


def basis(options: Namespace) -> int:
    """Do what the word after ``basis`` says."""
    return {"info": _info, "evaluate": _evaluate, "compare": _compare, "convert": _convert}[options.what](options)


def _open(options: Namespace, folder: str, name: str | None = None) -> Dictionary:
    from patchclamp.decompose.layouts import open_dictionary

    return open_dictionary(
        folder, site=getattr(options, "site", None), reads=getattr(options, "reads", None), name=name
    )


def _info(options: Namespace) -> int:
    found = _open(options, options.folder)
    facts = {
        "name": found.name, "method": found.method, "subject": dict(found.subject), "about": dict(found.about),
        "curves": dict(found.curves), "bases": [_facts(site, each) for site, each in found.bases.items()],
    }  # fmt: skip
    emit(facts) if options.json else tables.info(options.folder, facts)
    return 0


def _facts(site: str, each: Any) -> dict[str, Any]:
    sizes = np.linalg.norm(each.decoder.astype(np.float64), axis=1)
    return {
        "site": site, "reads": each.reads, "units": each.n_units, "width": int(each.decoder.shape[1]),
        "activation": each.activation, "k": each.k, "skip": each.skip is not None, "hash": each.hash,
        "norm": [float(sizes.min(initial=np.inf)), float(sizes.mean()), float(sizes.max(initial=0))],
        "empty": int((sizes == 0).sum()),
    }  # fmt: skip


def _evaluate(options: Namespace) -> int:
    from patchclamp.decompose.layouts import at_home
    from patchclamp.evaluate import judge
    from patchclamp.evaluate.judging import check_subject
    from patchclamp.evaluate.labelled import is_labelled, read_labels
    from patchclamp.opening import load
    from patchclamp.record.plan import show_text

    if min(options.batch_size, options.max_tokens) < 1:
        raise PatchclampError(
            expected="--batch-size and --max-tokens from 1",
            got=f"{options.batch_size} and {options.max_tokens}",
            remedy="Give larger ones.",
        )
    model = load(options.model, device=options.device, dtype=options.dtype)
    if not hasattr(model, "tokenize"):
        raise PatchclampError(expected="a language model", got=model.name, remedy="Dictionaries are judged on text.")
    found = at_home(_open(options, options.folder), model)
    check_subject(model, found)
    if is_labelled(options.text):
        labels = read_labels(model, options.text, options.max_tokens)
        shown: Sequence[Any] = labels.stimuli
    else:
        labels = None
        window = min(WINDOW, model.context or WINDOW) if options.window is None else options.window
        cut = {"window": window, "max_tokens": options.max_tokens, "batch_size": options.batch_size}
        shown = [one for batch in show_text(model, options.text, **cut).batches(0) for one in batch]
    with Meter("judge", "batches") as meter:
        report = judge(model, found, shown, batch_size=options.batch_size, seed=options.seed, progress=meter)
    told = None if labels is None else _told(model, found, labels, options)
    if options.json:
        emit({**asdict(report), "concepts": told})
    else:
        tables.report(report, options.folder)
        if told is not None:
            tables.concepts(told)
    return 0


def _told(model: Any, found: Dictionary, labels: Any, options: Namespace) -> dict[str, Any]:
    """Return the best unit of every set for each concept, and by how much features are ahead of each other set."""
    from patchclamp.evaluate.concepts import ahead, tell_concepts
    from patchclamp.evaluate.rivals import label
    from patchclamp.evaluate.telling import BEFORE, SETS, unit_values

    own = label(found)
    names = (own, *SETS)
    sets = {}
    with Meter("concepts", "sets") as meter:
        for done, name in enumerate(names, start=1):
            blocks: Iterator[Any] = unit_values(model, found, labels, name, batch_size=32, seed=options.seed)
            sets[name] = tell_concepts(
                blocks, labels.true, labels.names, labels.document, signed=True, seed=options.seed
            )
            meter(done, len(names))
    each: dict[str, Any] = {
        concept: {
            **{
                name: {"unit": told[concept].unit, "sign": told[concept].sign, "auroc": told[concept].auroc,
                       "interval": [told[concept].low, told[concept].high]}
                for name, told in sets.items()
            },
            "positives": one.positives,
            "ahead": {name: ahead(one, sets[name][concept]) for name in SETS},
            "before ahead": {name: ahead(sets[BEFORE][concept], sets[name][concept]) for name in SETS},
        }
        for concept, one in sets[own].items()
    }  # fmt: skip
    means = {name: float(np.mean([told.auroc for told in sets[name].values()])) if each else None for name in names}
    counts = [
        {
            "set": first, "against": other,
            "ahead": sum(one[gains][other][1] > 0 for one in each.values()),
            "behind": sum(one[gains][other][2] < 0 for one in each.values()),
        }
        for first, gains in ((own, "ahead"), (BEFORE, "before ahead"))
        for other in SETS
        if other != first
    ]  # fmt: skip
    return {
        "own": own, "tokens": len(labels.true), "documents": len(labels.stimuli), "means": means, "counts": counts,
        "each": each,
    }  # fmt: skip


def _compare(options: Namespace) -> int:
    from patchclamp.evaluate import compare_bases

    one, other = _open(options, options.folder), _open(options, options.other)
    both = [site for site in one.bases if site in other.bases]
    if not both:
        raise PatchclampError(
            expected="two dictionaries of one site",
            got=f"{', '.join(one.bases)} and {', '.join(other.bases)}",
            remedy="Name two that write the same site.",
        )
    hashes = {str(each.subject.get("hash", "")) for each in (one, other)} - {""}
    notes = ["they were made on models of other weights"] if len(hashes) > 1 else []
    found = {site: compare_bases(one.bases[site], other.bases[site], seed=options.seed) for site in both}
    if options.json:
        emit({"sites": {site: asdict(each) for site, each in found.items()}, "notes": notes})
    else:
        tables.comparison(found, notes)
    return 0


def _convert(options: Namespace) -> int:
    from patchclamp.decompose.layouts import write_dictionary

    found = _open(options, options.folder, options.name)
    folders = write_dictionary(found, options.out, options.to)
    if options.json:
        emit({"layout": options.to, "folders": [str(Path(folder)) for folder in folders]})
    else:
        for folder in folders:
            print(folder)
    return 0
