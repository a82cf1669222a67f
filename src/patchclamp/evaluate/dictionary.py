"""Evaluate a dictionary on a text, beside baselines: reconstruction, loss, and the concepts that its units detect."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from os import PathLike, fspath
from typing import Any

import numpy as np

from patchclamp.core.arguments import Natural, Positive, checked
from patchclamp.core.corpus import Corpus
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import to_plain
from patchclamp.core.subject import Progress, refuse_no_subject
from patchclamp.evaluate.concept_units import auroc_margin, find_concept_units
from patchclamp.evaluate.dictionary_baselines import label
from patchclamp.evaluate.dictionary_metrics import (
    DictionaryMetrics,
    check_subject,
    is_training_text,
    measure_dictionary,
)
from patchclamp.evaluate.labelled import Labelled, read_labels
from patchclamp.evaluate.labelled_activations import BEFORE, SETS, unit_values
from patchclamp.subjects.corpora import read_corpus
from patchclamp.subjects.labelled import is_labelled
from patchclamp.subjects.protocols import Records
from patchclamp.subjects.site_names import CONDITIONS, resolve_sites, unmet_conditions
from patchclamp.subjects.text import prepend_bos

WINDOW, MAX_TOKENS, BATCH = 128, 50_000, 8


@checked
@dataclass(frozen=True)
class DictionaryReport(DictionaryMetrics):
    """What was found of a dictionary on a text.

    Args:
        concepts: of labelled text how well single units tell each concept, beside other sets of units; None without
            labels.
    """

    concepts: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON-ready data."""
        found: dict[str, Any] = to_plain(self)
        return found


@checked
def evaluate_dictionary(
    subject: Any,
    dictionary: Dictionary,
    text: str | PathLike[str],
    *,
    window: int | None = None,
    max_tokens: Positive = MAX_TOKENS,
    skip_first: Natural = 0,
    batch_size: Positive = BATCH,
    seed: Natural = 0,
    note: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> DictionaryReport:
    """Evaluate a dictionary on a text, beside neurons, principal components and random directions that keep as much.

    The text is shown as the dictionary's training text was, where its folder says how: with a BOS token, no longer than
    its contexts, without the positions and tokens that it left out.

    Args:
        subject: the language model that it was made on.
        dictionary: its bases.
        text: a UTF-8 text that it was not made on; or labelled documents, JSON lines, which are shown whole.
        window: tokens per stimulus; by default 128, or a shorter context.
        max_tokens: of the text.
        skip_first: tokens of each stimulus that count nowhere.
        batch_size: stimuli per forward pass.
        seed: of the random directions and the resampling.
        note: called with a sentence for each thing that is assumed of the dictionary's input.
        progress: called with what is done and what there is in all, of the batches and then of the sets of units.

    Returns:
        DictionaryReport: every figure with a 95 % interval; of labelled text also the best unit for each concept.

    Raises:
        PatchclampError: another model's dictionary, a window longer than its training's, labels of another tokenizer,
            or too short a text.

    Source: 2404.16014, section 4, and 2406.04093, sections 2.4 and 4.2. Departs from them in the rivals, which keep as
    many numbers per token, and in judging on every second stimulus what was fitted on the others.

    Cost: see ``measure_dictionary``; of labelled text another forward pass over it for each set of units.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from patchclamp.core.basis import Basis
        >>> from patchclamp.loaders import load
        >>> cat, eye = load("organism:cat"), np.eye(16, dtype=np.float32)
        >>> basis = Basis("all", "directions", eye, eye)
        >>> whole = Dictionary({"blocks.0.mlp.act": basis}, {"hash": cat.hash}, "by hand")
        >>> with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        ...     _ = file.write("the old cat sat on the mat. " * 99), file.flush()
        ...     evaluate_dictionary(cat, whole, file.name, window=32).rows[0].unexplained.value
        0.0
    """
    refuse_no_subject(subject, Records, "that a dictionary was made on")
    if not hasattr(subject, "tokenize"):
        raise PatchclampError(
            expected="a language model", got=subject.name, remedy="Dictionaries are evaluated on text."
        )
    found = resolve_sites(subject, dictionary)
    check_subject(subject, found)
    conditions = found.about.get(CONDITIONS) or {}
    if conditions.get("prepend_bos"):
        prepend_bos(subject)
    text = fspath(text)
    labels = read_labels(subject, text, max_tokens) if is_labelled(text) else None
    # Of labelled documents nothing is cut, so that what the dictionary assumes may not hold.
    for line in (found.about.get("assumed") or ()) if labels is None else unmet_conditions(subject, found):
        if note is not None:
            note(str(line))
    size = _window(window, subject.context, conditions.get("context_size"))
    if labels is not None:
        shown: Sequence[Any] = labels.stimuli
    else:
        corpus = Corpus(
            text,
            window=size,
            max_tokens=max_tokens,
            bos=conditions.get("prepend_bos") is not False,
            skip_first=skip_first,
        )
        shown = [one for batch in read_corpus(subject, corpus, batch_size=batch_size) for one in batch]
    outside, first = slice(*(conditions.get("positions") or (None,))), slice(skip_first, conditions.get("context_size"))
    shown = [one.skipping(outside, conditions.get("excluded", ())).skipping(first) for one in shown]
    report = measure_dictionary(subject, found, shown, batch_size=batch_size, seed=seed, progress=progress)
    notes = list(report.notes)
    if is_training_text(found, text):
        notes.append(f"{text} is the text that this dictionary was made on: figures flatter it; give held-out text")
    concepts = None if labels is None else compare_sets(subject, found, labels, seed=seed, progress=progress)
    same = {one.name: getattr(report, one.name) for one in fields(report)}
    return DictionaryReport(**{**same, "notes": tuple(notes)}, concepts=concepts)


def _window(given: int | None, context: int | None, trained: int | None) -> int:
    """Return how many tokens are shown at once: no more than the model, or the dictionary's training, had.

    Raises:
        PatchclampError: more were wanted than the dictionary was trained on.
    """
    if given is not None and trained is not None and given > trained:
        raise PatchclampError(
            expected=f"a window of at most {trained} tokens, the contexts that the dictionary was trained on",
            got=str(given),
            remedy="Give a smaller window.",
        )
    return given if given is not None else min(WINDOW, context or WINDOW, trained or WINDOW)


def compare_sets(
    subject: Any, dictionary: Dictionary, labels: Labelled, *, seed: int = 0, progress: Progress | None = None
) -> dict[str, Any]:
    """Return the best unit of every set for each concept, and by how much features are ahead of each other set.

    Args:
        subject: the language model.
        dictionary: whose features they are.
        labels: text with the concepts true of each token.
        seed: of random directions and resampling.
        progress: called with sets done and in all.

    Returns:
        JSON-ready data: ``own`` (the dictionary's name), ``tokens``, ``documents``, ``means`` of every set, ``counts``
        of concepts in which one set is ahead of another, and ``each`` concept.

    Source: 2406.04093, section 4.2, for one unit a concept; the comparison of sets is ours.
    """
    own = label(dictionary)
    names, sets = (own, *SETS), {}
    for done, name in enumerate(names, start=1):
        blocks = unit_values(subject, dictionary, labels, name, batch_size=32, seed=seed)
        sets[name] = find_concept_units(blocks, labels.true, labels.names, labels.document, signed=True, seed=seed)
        if progress is not None:
            progress(done, len(names))
    each: dict[str, Any] = {
        concept: {
            **{
                name: {
                    "unit": best[concept].unit,
                    "sign": best[concept].sign,
                    "auroc": best[concept].auroc.to_json(),
                }
                for name, best in sets.items()
            },
            "positives": one.positives,
            "ahead": {name: auroc_margin(one, sets[name][concept]).to_json() for name in SETS},
            "before ahead": {name: auroc_margin(sets[BEFORE][concept], sets[name][concept]).to_json() for name in SETS},
        }
        for concept, one in sets[own].items()
    }
    means = {
        name: float(np.mean([best.auroc.value for best in sets[name].values()])) if each else None for name in names
    }
    counts = [
        {
            "set": first,
            "against": other,
            "ahead": sum(one[gains][other]["low"] > 0 for one in each.values()),
            "behind": sum(one[gains][other]["high"] < 0 for one in each.values()),
        }
        for first, gains in ((own, "ahead"), (BEFORE, "before ahead"))
        for other in SETS
        if other != first
    ]
    return {
        "own": own,
        "tokens": len(labels.true),
        "documents": len(labels.stimuli),
        "means": means,
        "counts": counts,
        "each": each,
    }
