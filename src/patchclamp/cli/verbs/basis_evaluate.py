"""Evaluate a dictionary of features on text."""

from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from patchclamp.cli.loading import load_model, open_features, print_assumed
from patchclamp.cli.method_options import MethodParser
from patchclamp.cli.options import add_conditions, add_dictionary, add_model, add_skip_first
from patchclamp.cli.output import emit, log
from patchclamp.cli.progress import Meter
from patchclamp.core.errors import PatchclampError

SUMMARY = "What a dictionary leaves out and the network loses by it, beside neurons, components and random directions."
QUESTION = "is it true"
EXAMPLE = "patchclamp basis evaluate organism:language-gpt2 features --text held-out.txt"

WINDOW = 128


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    add_model(parser, text=False)
    add_dictionary(parser, "folder")
    add_conditions(parser)
    parser.add_argument(
        "--text", required=True, metavar="FILE", help="text that it was not made on; with labels, concepts are told too"
    )
    parser.add_argument(
        "--window", type=int, metavar="N", help="tokens per stimulus (default: 128, or a shorter context)"
    )
    parser.add_argument("--max-tokens", type=int, default=50000, metavar="N", help="stop after N (default: 50,000)")
    parser.add_argument("--batch-size", type=int, default=8, metavar="B", help="stimuli per pass (default: 8)")
    add_skip_first(parser)


def run(options: Namespace) -> int:
    """Evaluate a dictionary on text, and show it beside its rivals."""
    from patchclamp.core.corpus import Corpus
    from patchclamp.core.estimate import to_plain
    from patchclamp.evaluate import measure_dictionary
    from patchclamp.evaluate.dictionary_metrics import check_subject, is_training_text
    from patchclamp.evaluate.labelled import read_labels
    from patchclamp.report.terminal.dictionary_report import show_concepts, show_report
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
    found = resolve_sites(model, open_features(options, options.folder))
    check_subject(model, found)
    conditions = found.about.get(CONDITIONS) or {}
    if conditions.get("prepend_bos"):
        prepend_bos(model)
    labelled = is_labelled(options.text)
    if labelled:
        for line in unmet_conditions(model, found):
            log(f"note: {line}")
    else:
        print_assumed(found)  # the rest is applied below
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
        report = measure_dictionary(
            model, found, shown, batch_size=options.batch_size, seed=options.seed, progress=meter
        )
    if is_training_text(found, options.text):
        note = f"{options.text} is the text that this dictionary was made on: figures flatter it; give held-out text"
        report = replace(report, notes=(*report.notes, note))
    told = None if labels is None else _compare_with_rivals(model, found, labels, options)
    if options.json:
        emit({**to_plain(report), "concepts": told})
    else:
        show_report(report, options.folder)
        if told is not None:
            show_concepts(told)
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


def _compare_with_rivals(model: Any, found: Any, labels: Any, options: Namespace) -> dict[str, Any]:
    """Return the best unit of every set for each concept, and by how much features are ahead of each other set."""
    import numpy as np

    from patchclamp.evaluate.concept_units import auroc_margin, find_concept_units
    from patchclamp.evaluate.dictionary_baselines import label
    from patchclamp.evaluate.labelled_activations import BEFORE, SETS, unit_values

    own = label(found)
    names = (own, *SETS)
    sets = {}
    with Meter("concepts", "sets") as meter:
        for done, name in enumerate(names, start=1):
            blocks: Iterator[Any] = unit_values(model, found, labels, name, batch_size=32, seed=options.seed)
            sets[name] = find_concept_units(
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
            "ahead": {name: auroc_margin(one, sets[name][concept]).to_json() for name in SETS},
            "before ahead": {
                name: auroc_margin(sets[BEFORE][concept], sets[name][concept]).to_json() for name in SETS
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
