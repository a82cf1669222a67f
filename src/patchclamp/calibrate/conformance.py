"""Conformance: what every method must keep, checked on an organism whose answer is known."""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from patchclamp.calibrate.inputs import make_inputs
from patchclamp.control import measure_edit
from patchclamp.core import options as opts
from patchclamp.core.arguments import Natural, checked
from patchclamp.core.basis import Basis
from patchclamp.core.descriptions import Descriptions
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.edit import Edit
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate
from patchclamp.core.keys import parse_key
from patchclamp.core.method import Method
from patchclamp.core.readout import Readout
from patchclamp.core.recording import Recording, as_numpy
from patchclamp.core.scores import Scores
from patchclamp.core.similarity import Similarity
from patchclamp.core.task import Task
from patchclamp.core.unit import UnitKey
from patchclamp.organisms import planted

CLOSE = 1e-5
"""Largest difference from an oracle, relative to its largest value."""


@dataclass(frozen=True)
class Check:
    """Say of one thing that a method must keep whether it does, and if not why.

    Args:
        name: what must be kept.
        passed: whether it is.
        reason: what was found where it is not.
    """

    name: str
    passed: bool
    reason: str = ""


class _Broken(Exception):
    """A check that failed, with its reason."""


@checked
def check_method(
    method: Method, *, oracle: Callable[..., Any] | None = None, seed: Natural = 0, **options: Any
) -> tuple[Check, ...]:
    """Return what a method keeps of the conformance suite, run on the first organism that its card names.

    Args:
        method: yours or ours.
        oracle: a slow function of the same inputs and options, that returns what ``comparable`` returns of the method's
            noun; the check is left out without one.
        seed: of everything random.
        options: of the method, to make the checks quick.

    Returns:
        tuple[Check, ...]: all that apply to what the method takes and gives.

    Raises:
        PatchclampError: the card names no organism that there is.

    Cost: the method a few times on a small organism.

    Example:
        >>> from patchclamp.core.method_files import find_method
        >>> all(check.passed for check in check_method(find_method("rsa", "compare"), n_null=19, n_bootstrap=100))
        True
    """
    context = _Context(method, make_inputs(method), options, seed, oracle)
    found = []
    for check in _checks_of(method, oracle):
        try:
            check(context)
            found.append(Check(_name(check), True))
        except _Broken as problem:
            found.append(Check(_name(check), False, str(problem)))
        except Exception as problem:
            found.append(Check(_name(check), False, f"{type(problem).__name__}: {problem}"))
    return tuple(found)


def comparable(noun: Any) -> np.ndarray:
    """Return the numbers of a noun that an oracle gives too: a Similarity's value, a Readout's held-out predictions,
    a Basis' directions, an Edit's deltas end to end.

    An oracle of Scores gives a mapping from key to score instead.
    """
    if isinstance(noun, Scores):
        return noun.values
    if isinstance(noun, Descriptions):
        return noun.weights.ravel()
    if isinstance(noun, Estimate):
        return np.array([noun.value])
    if isinstance(noun, Basis) and noun.decoder is not None:
        return noun.decoder.ravel()
    if isinstance(noun, Edit):
        return np.concatenate([delta.ravel() for delta in noun.deltas.values()])
    if isinstance(noun, Similarity):
        return np.array([noun.estimate.value])
    if isinstance(noun, Readout) and noun.predicted is not None:
        return noun.predicted
    raise _Broken(f"{type(noun).__name__} has nothing to compare")


@dataclass
class _Context:
    method: Method
    inputs: Mapping[str, Any]
    options: Mapping[str, Any]
    seed: int
    oracle: Callable[..., Any] | None

    def run(self, **changes: Any) -> Any:
        """Run the method, with some inputs changed."""
        return self.method(**{**self.inputs, **changes}, **self.options, seed=self.seed)

    @cached_property
    def noun(self) -> Any:
        """What the method gives of the inputs as they are; most checks look at it."""
        return self.run()


def _refuse(broken: object, reason: str) -> None:
    if broken:
        raise _Broken(reason)


def _is_complete(context: _Context) -> None:
    """The card is complete, its entry is JSON, and the function's documentation names source, cost and errors."""
    json.dumps(context.method.to_json(), allow_nan=False)
    text = inspect.getdoc(context.method.run) or ""
    missing = [part for part in ("Args:", "Returns:", "Raises:", "Source:", "Cost:") if part not in text]
    _refuse(missing, f"its documentation lacks {', '.join(missing)}")


def _round_trips_options(context: _Context) -> None:
    """Options come back from JSON as they were, and unknown ones are refused."""
    first = context.method.make_options(context.options)
    again = context.method.make_options(json.loads(json.dumps(opts.to_json(first))))
    _refuse(first != again, f"{first} came back as {again}")
    try:
        context.method.make_options({"no_such_option": 1})
    except PatchclampError:
        return
    raise _Broken("an unknown option was taken")


def _gives_its_noun(context: _Context) -> None:
    """What it gives is the noun that its annotation names."""
    noun = context.noun
    _refuse(type(noun).__name__ != context.method.gives, f"{type(noun).__name__} instead of {context.method.gives}")
    if isinstance(noun, Estimate):
        return
    _refuse(noun.provenance.method != f"{context.method.room}/{context.method.name}", "its provenance does not name it")


def _repeats(context: _Context) -> None:
    """The same seed gives the same bits."""
    first, second = comparable(context.noun), comparable(context.run())
    _refuse(first.tobytes() != second.tobytes(), "two runs with one seed differ")


def _equals_its_oracle(context: _Context) -> None:
    """It equals its slow oracle."""
    assert context.oracle is not None
    given = context.oracle(**context.inputs, options=context.method.make_options(context.options))
    noun = context.noun
    if isinstance(noun, Scores):
        _refuse(len(given) != len(noun), f"{len(noun)} keys, its oracle {len(given)}")
        expected, found = np.array(list(given.values())), np.array([noun.score(key) for key in given])
    else:
        expected, found = np.asarray(given), comparable(noun)
    scale = float(np.abs(expected[np.isfinite(expected)]).max(initial=1e-30))
    apart = float(np.nanmax(np.abs(found - expected))) / scale
    _refuse(not apart <= CLOSE, f"{apart:.2g} of the largest value away from its oracle")


def _refuses_too_few(context: _Context) -> None:
    """A missing input is refused in three parts."""
    name = next(iter(context.inputs))
    try:
        context.method(**{key: value for key, value in context.inputs.items() if key != name})
    except PatchclampError:
        return
    raise _Broken(f"it ran without {name}")


def _refuses_what_is_no_subject(context: _Context) -> None:
    """A subject that lacks what it needs is refused in three parts."""
    if "subject" in context.inputs:
        try:
            context.run(subject=object())
        except PatchclampError:
            return
        raise _Broken("it took an object without any protocol")


def _is_json(context: _Context) -> None:
    """What it gives can be written as JSON, cut to a limit, without NaN."""
    noun = context.noun
    json.dumps(noun.to_json() if isinstance(noun, Estimate) else noun.to_json(3), allow_nan=False)


def _saves_and_loads(context: _Context) -> None:
    """What it gives comes back from disk as it was."""
    noun = context.noun
    with TemporaryDirectory() as folder:
        (Dictionary.of(noun) if isinstance(noun, Basis) else noun).save(f"{folder}/new")
        again = (
            Dictionary.load(f"{folder}/new").single() if isinstance(noun, Basis) else type(noun).load(f"{folder}/new")
        )
    same = comparable(noun).tobytes() == comparable(again).tobytes()
    _refuse(not same or noun.to_json() != again.to_json(), "it came back changed")


def _finds_what_is_planted(context: _Context) -> None:
    """The estimate lies above its null and not above its ceiling by more than its interval."""
    for estimate in _estimates(context.noun):
        _refuse(estimate.null is None or estimate.value <= estimate.null.high, f"{estimate} lies within its null")
        low = estimate.value if estimate.interval is None else estimate.interval.low
        above = estimate.ceiling is not None and low > estimate.ceiling
        _refuse(above, f"{estimate} lies above its ceiling {estimate.ceiling}")


def _random_row_is_at_chance(context: _Context) -> None:
    """Noise in place of the last recording stays within the null."""
    name = [key for key, noun in context.method.takes.items() if noun == "Recording"][-1]
    noun = context.run(**{name: _noise_like(context.inputs[name], context.seed)})
    for estimate in _estimates(noun):
        _refuse(estimate.p is not None and estimate.p <= 0.01 and estimate.value > 0.2, f"{estimate} on noise")


def _shuffled_scores_are_at_chance(context: _Context) -> None:
    """Scores that are given to the wrong keys come out like random orders."""
    name = next((key for key, noun in context.method.takes.items() if noun == "Scores"), None)
    if name is None:
        return
    scores, draw = context.inputs[name], np.random.default_rng(context.seed)
    shuffled = draw.permuted(scores.per_case, axis=1)
    estimate = context.run(**{name: replace(scores, values=shuffled.mean(0), per_case=shuffled)})
    own = context.noun
    _refuse(estimate.value >= own.value, f"{estimate} of shuffled scores")
    _refuse(estimate.p is not None and estimate.p <= 0.01, f"{estimate} of shuffled scores, p = {estimate.p}")


def _shuffled_descriptions_are_at_chance(context: _Context) -> None:
    """Descriptions that are given to the wrong units come out like those of random units."""
    name = next((key for key, noun in context.method.takes.items() if noun == "Descriptions"), None)
    if name is None:
        return
    own, draw = context.inputs[name], np.random.default_rng(context.seed)
    shuffled = replace(own, terms=own.terms[draw.permutation(len(own))])
    estimate = context.run(**{name: shuffled})
    _refuse(estimate.value >= context.noun.value, f"{estimate} of shuffled descriptions")
    _refuse(estimate.p is not None and estimate.p <= 0.01, f"{estimate} of shuffled descriptions, p = {estimate.p}")


def _oracle_row_is_at_one(context: _Context) -> None:
    """A recording beside itself is as alike, or as well predicted, as can be."""
    first, last = ([key for key, noun in context.method.takes.items() if noun == "Recording"][i] for i in (0, -1))
    for estimate in _estimates(context.run(**{last: context.inputs[first]})):
        _refuse(not estimate.value > 0.99, f"{estimate} of a recording beside itself")


def _has_valid_keys(context: _Context) -> None:
    """Every key comes back from text and from a URL, and stands where its score does."""
    scores = context.noun
    for place in range(0, len(scores), max(1, len(scores) // 50)):
        key = scores.key(place)
        same = parse_key(str(key)) == key and type(key).from_url(key.to_url()) == key
        _refuse(not same or scores.index.place(key) != place, f"{key} does not come back")


def _finds_the_planted_units(context: _Context) -> None:
    """The planted units are the highest, a random order finds fewer, and the truth as an order finds all."""
    name = str(getattr(context.inputs.get("subject"), "name", ""))
    if name not in planted.names():
        return
    scores, true = context.noun, [str(key) for key in planted.card(name)["true"]]
    places = {scores.index.place(key) for key in true}
    highest = set(scores.places(len(places), signed=False).tolist())
    _refuse(highest != places, f"{len(highest & places)} of {len(places)} planted units among as many highest")
    draw = np.random.default_rng(context.seed)
    by_chance = [len(places & set(draw.permutation(len(scores))[: len(places)].tolist())) for _ in range(100)]
    _refuse(np.mean(by_chance) > len(places) / 2, "a random order finds half of them")


def _describes_the_planted_units(context: _Context) -> None:
    """A planted neuron is described by the answer that it gives, and few others are."""
    name, found = str(getattr(context.inputs.get("subject"), "name", "")), context.noun
    if name not in planted.names():
        return
    card = planted.card(name)
    keys = {str(UnitKey.parse(key).without_place()) for key in card["true"] if "/neurons/" in key}
    wrong = [key for key in keys if found.text(found.index.place(key), 1) != card["target"]]
    _refuse(wrong, f"{', '.join(wrong)} not described by {card['target']!r}")
    same = sum(found.text(place, 1) == card["target"] for place in range(len(found)))
    _refuse(same > len(found) / 4, f"{same} of {len(found)} units are described so")


def _tells_held_out_labels_apart(context: _Context) -> None:
    """On examples that it was not fitted on a direction tells the labels further apart than 20 random ones."""
    task, subject = context.inputs["task"], context.inputs["subject"]
    basis = context.run(task=Task(task.cases[::2], task.measure))
    means = []
    for label in task.labels:
        shown = [case.shown for case in task.cases[1::2] if case.label == label]
        recording = subject.run(shown, record=[basis.site], logits=False).recording
        means.append(np.asarray(as_numpy(recording.mean(basis.site)), dtype=np.float64))
    apart, direction = means[0] - means[1], basis.decoder[0].astype(np.float64)
    noise = np.random.default_rng(context.seed).standard_normal((20, len(direction)))
    noise *= np.linalg.norm(direction) / np.linalg.norm(noise, axis=1, keepdims=True)
    largest = float(np.abs(noise @ apart).max())
    _refuse(not abs(apart @ direction) > largest, f"{abs(apart @ direction):.3g} apart, a random one {largest:.3g}")


def _is_undone_to_the_bit(context: _Context) -> None:
    """After its context, also one that raises, every parameter and the hash are as before."""
    subject, edit = context.inputs["subject"], context.noun
    before = {name: as_numpy(x).tobytes() for name, x in subject.parameters().items()}
    try:
        with subject.edited(edit):
            _refuse(subject.hash != edit.after, "the subject's hash is not the edit's while it is in force")
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    changed = [name for name, x in subject.parameters().items() if as_numpy(x).tobytes() != before[name]]
    _refuse(changed or subject.hash != edit.before, f"{', '.join(changed) or 'the hash'} is another than before")


def _refuses_other_weights(context: _Context) -> None:
    """An edit of other weights is refused."""
    try:
        with context.inputs["subject"].edited(replace(context.noun, before="0" * 64)):
            pass
    except PatchclampError:
        return
    raise _Broken("an edit of other weights was put in force")


def _changes_the_answer(context: _Context) -> None:
    """The new answer is given with the edit, and with no random edit of the same norm."""
    task = context.inputs["task"]
    effects = measure_edit(context.inputs["subject"], context.noun, task, task, task, n_random=19, seed=context.seed)
    _refuse(effects.efficacy.value < 1, f"the new answer in {effects.efficacy}")
    _refuse(effects.efficacy.p is not None and effects.efficacy.p > 0.05, f"random edits: {effects.efficacy.null}")


def _estimates(noun: Any) -> Iterator[Any]:
    """Yield the one estimate that sums a noun up."""
    yield noun if isinstance(noun, Estimate) else noun.estimate if isinstance(noun, Similarity) else noun.summary


def _noise_like(recording: Recording, seed: int) -> Recording:
    draw = np.random.default_rng(seed)
    return replace(recording, values={site: draw.standard_normal(np.shape(x)) for site, x in recording.values.items()})


_GENERAL: tuple[Callable[[_Context], None], ...] = (
    _is_complete, _round_trips_options, _gives_its_noun, _repeats, _refuses_too_few, _refuses_what_is_no_subject,
    _is_json,
)  # fmt: skip
_OF_NOUN: Mapping[str, tuple[Callable[[_Context], None], ...]] = {
    "Scores": (_saves_and_loads, _has_valid_keys, _finds_the_planted_units),
    "Similarity": (_finds_what_is_planted, _random_row_is_at_chance, _oracle_row_is_at_one),
    "Estimate": (
        _finds_what_is_planted,
        _shuffled_scores_are_at_chance,
        _shuffled_descriptions_are_at_chance,
    ),
    "Descriptions": (_saves_and_loads, _describes_the_planted_units),
    "Basis": (_saves_and_loads, _tells_held_out_labels_apart),
    "Edit": (_saves_and_loads, _is_undone_to_the_bit, _refuses_other_weights, _changes_the_answer),
    "Readout": (_saves_and_loads, _finds_what_is_planted, _random_row_is_at_chance, _oracle_row_is_at_one),
}
"""Noun given → what a method that gives it must keep besides."""


def _checks_of(method: Method, oracle: object) -> list[Callable[[_Context], None]]:
    return [*_GENERAL, *_OF_NOUN.get(method.gives, ()), *([_equals_its_oracle] if oracle is not None else [])]


def _name(check: Callable[..., Any]) -> str:
    return check.__name__.strip("_").replace("_", " ")
