"""Show, evaluate, compare and convert dictionaries of features."""

from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from patchclamp.cli import basis_tables as tables
from patchclamp.cli.loading import load_model
from patchclamp.cli.output import emit, log
from patchclamp.cli.progress import Meter
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import to_plain

WINDOW = 128


def basis(options: Namespace) -> int:
    """Do what the word after ``basis`` says."""
    return {"info": _info, "evaluate": _evaluate, "compare": _compare, "convert": _convert}[options.what](options)


def _open(options: Namespace, folder: str, name: str | None = None) -> Dictionary:
    from patchclamp.decompose.layouts import open_dictionary

    given = {each: getattr(options, each, None) for each in ("site", "reads", "center", "prepend_bos")}
    return open_dictionary(folder, name=name, **given)


def _print_assumed(found: Dictionary) -> None:
    """Print on standard error what a folder does not say of its input, and what is assumed instead."""
    for line in found.about.get("assumed") or ():
        log(f"note: {line}")


def _info(options: Namespace) -> int:
    found = _open(options, options.folder)
    _print_assumed(found)
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
    from patchclamp.core.corpus import Corpus
    from patchclamp.evaluate import judge
    from patchclamp.evaluate.judging import check_subject, is_training_text
    from patchclamp.evaluate.labelled import read_labels
    from patchclamp.subjects.corpora import read_corpus
    from patchclamp.subjects.labelled import is_labelled
    from patchclamp.subjects.site_names import CONDITIONS, resolve_sites, unmet_conditions
    from patchclamp.subjects.text import prepend_bos

    if min(options.batch_size, options.max_tokens) < 1:
        raise PatchclampError(
            expected="--batch-size and --max-tokens from 1",
            got=f"{options.batch_size} and {options.max_tokens}",
            remedy="Give larger ones.",
        )
    model = load_model(options)
    if not hasattr(model, "tokenize"):
        raise PatchclampError(expected="a language model", got=model.name, remedy="Dictionaries are judged on text.")
    found = resolve_sites(model, _open(options, options.folder))
    check_subject(model, found)
    conditions = found.about.get(CONDITIONS) or {}
    if conditions.get("prepend_bos"):
        prepend_bos(model)
    labelled = is_labelled(options.text)
    if labelled:
        for line in unmet_conditions(model, found):
            log(f"note: {line}")
    else:
        _print_assumed(found)  # the rest is applied below
    window = _window(options.window, model.context, conditions.get("context_size"))
    outside = slice(*(conditions.get("positions") or (None,)))
    if labelled:
        labels = read_labels(model, options.text, options.max_tokens)
        shown: Sequence[Any] = labels.stimuli
    else:
        labels = None
        bos = conditions.get("prepend_bos") is not False
        corpus = Corpus(
            options.text, window=window, max_tokens=options.max_tokens, bos=bos, skip_first=options.skip_first
        )
        shown = [one for batch in read_corpus(model, corpus, batch_size=options.batch_size) for one in batch]
    first = slice(options.skip_first, conditions.get("context_size"))
    shown = [one.skipping(outside, conditions.get("excluded", ())).skipping(first) for one in shown]
    with Meter("judge", "batches") as meter:
        report = judge(model, found, shown, batch_size=options.batch_size, seed=options.seed, progress=meter)
    if is_training_text(found, options.text):
        note = f"{options.text} is the text that this dictionary was made on: figures flatter it; give held-out text"
        report = replace(report, notes=(*report.notes, note))
    told = None if labels is None else _compare_with_rivals(model, found, labels, options)
    if options.json:
        emit({**to_plain(report), "concepts": told})
    else:
        tables.report(report, options.folder)
        if told is not None:
            tables.concepts(told)
    return 0


def _window(given: int | None, context: int | None, trained: int | None) -> int:
    """Return how many tokens are shown at once: no more than the model, or the dictionary's training, had.

    Raises:
        PatchclampError: more were asked for than the dictionary was trained on.
    """
    if given is not None and trained is not None and given > trained:
        raise PatchclampError(
            expected=f"a window of at most {trained} tokens, the contexts that the dictionary was trained on",
            got=str(given),
            remedy="Give a smaller --window.",
        )
    return given if given is not None else min(WINDOW, context or WINDOW, trained or WINDOW)


def _compare_with_rivals(model: Any, found: Dictionary, labels: Any, options: Namespace) -> dict[str, Any]:
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
                name: {
                    "unit": told[concept].unit, "sign": told[concept].sign, "auroc": told[concept].auroc.to_json(),
                }
                for name, told in sets.items()
            },
            "positives": one.positives,
            "ahead": {name: ahead(one, sets[name][concept]).to_json() for name in SETS},
            "before ahead": {
                name: ahead(sets[BEFORE][concept], sets[name][concept]).to_json() for name in SETS
            },
        }
        for concept, one in sets[own].items()
    }  # fmt: skip
    means = {
        name: float(np.mean([told.auroc.value for told in sets[name].values()])) if each else None for name in names
    }
    counts = [
        {
            "set": first, "against": other,
            "ahead": sum(one[gains][other]["low"] > 0 for one in each.values()),
            "behind": sum(one[gains][other]["high"] < 0 for one in each.values()),
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
    from patchclamp.loaders import load

    found = _open(options, options.folder, options.name)
    _print_assumed(found)
    model = None if options.model is None else load(options.model)
    beside_norms = [s for s in found.bases if s.rpartition(".")[2] in ("write", "resid_mid")]
    if model is None and options.to != "patchclamp" and beside_norms:
        names = ", ".join(beside_norms[:4])
        log(
            f"note: what {options.to} calls {names} depends on the model's norms; "
            + (
                "they keep their own names"
                if options.to == "sparsify"
                else "named as if norms stood before attention and MLP"
            )
            + " (--model MODEL names them)",
        )
    folders = write_dictionary(found, options.out, options.to, model=model)
    if options.json:
        emit({"layout": options.to, "folders": [str(Path(folder)) for folder in folders]})
    else:
        for folder in folders:
            print(folder)
    return 0
