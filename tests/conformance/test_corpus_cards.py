"""Cards that take a Corpus or Exemplars are run by the suite as all others are, and broken ones are found out."""

from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from patchclamp.calibrate.conformance import check_method
from patchclamp.calibrate.trials import make_trial
from patchclamp.core.corpus import Corpus
from patchclamp.core.exemplars import Exemplars
from patchclamp.core.method import Cost, Method, Paper
from patchclamp.core.options import option
from patchclamp.record import survey_corpus
from patchclamp.subjects.corpora import read_corpus
from patchclamp.subjects.protocols import Records

ORGANISMS = ("cat", "induction-llama", "language-gpt2", "digits-cnn")


@dataclass(frozen=True)
class HighestOptions:
    n: int = option(4, "exemplars per unit", least=1)


def take_highest(subject: Records, corpus: Corpus, options: HighestOptions, *, seed: int = 0) -> Exemplars:
    """Return the stimuli of a corpus in which each unit of the first activations is highest.

    Args:
        subject: what is shown the corpus.
        corpus: where stimuli lie.
        options: how many.
        seed: of the survey's sample.

    Returns:
        The highest stimuli of every unit.

    Raises:
        PatchclampError: no text.

    Source: ours. Cost: one pass over the corpus.
    """
    [site, *_] = [one for one in subject.sites() if one.kind.endswith("act")]
    with TemporaryDirectory() as folder:
        survey = survey_corpus(subject, corpus, site.path, f"{folder}/new", seed=seed)
        found = survey.exemplars(site.path, kinds=["top"])
    rank = np.arange(len(found)) - np.searchsorted(found.unit, found.unit)
    return found.take(np.flatnonzero(rank < options.n))


def naive_highest(subject, corpus, options):
    """Return unit, position and value of each unit's highest stimuli, stimulus by stimulus."""
    [path, *_] = [one.path for one in subject.sites() if one.kind.endswith("act")]
    best: dict[int, list[tuple[float, int]]] = {}
    for [one] in read_corpus(subject, corpus, batch_size=1):
        values = subject.run([one], record=[path], logits=False).recording[path].numpy().astype(np.float64)
        values[~one.counted] = -np.inf
        for unit, position in enumerate(values.argmax(0)):
            best.setdefault(unit, []).append((values[position, unit], position))
    rows = [(u, p, v) for u in sorted(best) for v, p in sorted(best[u], key=lambda vp: -vp[0])[: options.n]]
    return np.array(rows).T.ravel()


def take_training(subject: Records, exemplars: Exemplars, *, seed: int = 0) -> Exemplars:
    """Return the exemplars that are for training.

    Args:
        subject: whose units they are of.
        exemplars: all of them.
        seed: of the split.

    Returns:
        About half of them.

    Raises:
        PatchclampError: never.

    Source: ours. Cost: one hash per stimulus.
    """
    return exemplars.split(seed)[0]


def lie(subject: Records, exemplars: Exemplars) -> Exemplars:
    """Return other values than the units have.

    Args:
        subject: whose units they are of.
        exemplars: true ones.

    Returns:
        False ones.

    Raises:
        PatchclampError: never.

    Source: ours. Cost: none.
    """
    return replace(exemplars, value=exemplars.value + 1)


def card(run, organism, **changes):
    known = {
        "name": run.__name__, "room": "describe", "title": "a test", "question": "Which stimuli?",
        "papers": (Paper("ours"),), "cost": lambda sizes, options: Cost(), "oracle": "oracles.corpus:cut",
        "calibrated_on": (organism,), "must_show": "the highest",
    }  # fmt: skip
    return Method(run, **{**known, **changes})


@pytest.mark.parametrize("organism", ORGANISMS)
@pytest.mark.parametrize("run", [take_highest, take_training])
def test_a_card_that_takes_them_keeps_the_suite(run, organism):
    checks = check_method(card(run, organism), organisms=False)
    assert [f"{check.name}: {check.reason}" for check in checks if not check.passed] == []
    assert "parts training from test" in {check.name for check in checks}


def test_what_a_card_finds_in_a_corpus_is_held_against_its_oracle():
    checks = check_method(card(take_highest, "cat"), oracle=lambda **given: naive_highest(**given), organisms=False)
    assert [f"{check.name}: {check.reason}" for check in checks if not check.passed] == []
    wrong = check_method(card(take_highest, "cat"), oracle=lambda **given: naive_highest(**given) + 1, organisms=False)
    assert [check.name for check in wrong if not check.passed] == ["equals its oracle"]


def test_values_that_no_unit_has_are_found_out():
    checks = {check.name: check for check in check_method(card(lie, "cat"), organisms=False)}
    assert not checks["holds what units do"].passed
    assert "in a fresh run" in checks["holds what units do"].reason


def test_their_hashes_are_in_the_provenance():
    method = card(take_training, "cat")
    inputs = make_trial(method, "cat").inputs
    assert method(**inputs).provenance.hashes["exemplars"] == inputs["exemplars"].hash
    assert method.takes == {"exemplars": "Exemplars"}
    method = card(take_highest, "cat")
    inputs = make_trial(method, "cat").inputs
    assert method(**inputs).provenance.hashes["corpus"] == inputs["corpus"].hash
