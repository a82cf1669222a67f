"""What every method must keep, checked on an organism whose answer is known."""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from patchclamp.calibrate.runner import comparable, distance_from_oracle, run_row
from patchclamp.calibrate.trials import Trial, list_places, make_trial
from patchclamp.core import options as opts
from patchclamp.core.arguments import Natural, checked
from patchclamp.core.basis import Basis
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate
from patchclamp.core.keys import parse_key
from patchclamp.core.method import Method
from patchclamp.core.recording import as_numpy
from patchclamp.core.tier import CLOSE, Tier, derive_tier


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


@dataclass(frozen=True)
class Conformance:
    """Hold what a method keeps, and the tier that its figures give it.

    Args:
        checks: what every method must keep, on the first organism that its card names.
        rows: what it shows and misses on each of its organisms, as ``patchclamp.calibrate.runner.run_row`` gives it.
        tier: the tier that it would get, with the reason.
    """

    checks: tuple[Check, ...]
    rows: tuple[Mapping[str, Any], ...]
    tier: Tier

    def __iter__(self) -> Iterator[Check]:
        """Yield the checks."""
        return iter(self.checks)

    def __len__(self) -> int:
        """Return how many checks there are."""
        return len(self.checks)


class _Broken(Exception):
    """A check that failed, with its reason."""


@checked
def check_method(
    method: Method,
    *,
    oracle: Callable[..., Any] | None = None,
    seed: Natural = 0,
    organisms: bool = True,
    **options: Any,
) -> Conformance:
    """Return what a method keeps of the conformance suite, and the tier that it would get.

    Args:
        method: yours or ours.
        oracle: a slow function of the same inputs and options, that returns what ``comparable`` returns of the method's
            noun; without one the check is left out, and the method stays experimental.
        seed: of everything random.
        organisms: run it on every organism that its card names; without, only the checks are run.
        options: of the method, to make the checks quick; organisms take those of the card.

    Returns:
        Conformance: all checks that apply to what the method takes and gives, the rows, and the tier with its reason.

    Raises:
        PatchclampError: the card names no organism that there is, or nothing is measured of the noun that it gives.

    Cost: the method a few times on a small organism, and three times on each that its card names.

    Example:
        >>> from patchclamp.core.method_files import find_method
        >>> found = check_method(find_method("rsa", "compare"), organisms=False, n_null=19, n_bootstrap=100)
        >>> all(check.passed for check in found), found.tier.name, found.tier.reason
        (True, 'experimental', 'it was not compared with an oracle')
    """
    places = list_places(method)
    trial = make_trial(method, places[0][0], seed=seed)
    context = _Context(replace(trial, options={**trial.options, **method.quick, **options}), oracle)
    checks = []
    for check in _checks_of(method, oracle):
        try:
            check(context)
            checks.append(Check(_name(check), True))
        except _Broken as problem:
            checks.append(Check(_name(check), False, str(problem)))
        except Exception as problem:
            checks.append(Check(_name(check), False, f"{type(problem).__name__}: {problem}"))
    rows = tuple(run_row(method, place, claim, seed=seed) for place, claim in places) if organisms else ()
    return Conformance(tuple(checks), rows, _tier_of(tuple(checks), rows, context.apart))


def _tier_of(checks: tuple[Check, ...], rows: tuple[Mapping[str, Any], ...], apart: float | None) -> Tier:
    """Return the tier that figures give, where no check failed."""
    broken = [f"{check.name} ({check.reason})" for check in checks if not check.passed]
    if broken:
        return Tier("experimental", f"it does not keep: {'; '.join(broken)}")
    return derive_tier({"oracle": {"apart": apart}, "rows": rows, "published": []})


@dataclass
class _Context:
    trial: Trial
    oracle: Callable[..., Any] | None
    apart: float | None = None

    @property
    def method(self) -> Method:
        return self.trial.method

    @property
    def inputs(self) -> Mapping[str, Any]:
        return self.trial.inputs

    @cached_property
    def noun(self) -> Any:
        """What the method gives of the inputs as they are; most checks look at it."""
        return self.trial.run()


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
    first = context.method.make_options(context.trial.options)
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
    first, second = comparable(context.noun), comparable(context.trial.run())
    _refuse(first.tobytes() != second.tobytes(), "two runs with one seed differ")


def _equals_its_oracle(context: _Context) -> None:
    """It equals its slow oracle."""
    assert context.oracle is not None
    context.apart = distance_from_oracle(context.oracle, context.trial, context.noun)
    _refuse(not context.apart <= CLOSE, f"{context.apart:.2g} of the largest value away from its oracle")


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
            context.trial.run(subject=object())
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


def _has_valid_keys(context: _Context) -> None:
    """Every key comes back from text and from a URL, and stands where its score does."""
    scores = context.noun
    for place in range(0, len(scores), max(1, len(scores) // 50)):
        key = scores.key(place)
        same = parse_key(str(key)) == key and type(key).from_url(key.to_url()) == key
        _refuse(not same or scores.index.place(key) != place, f"{key} does not come back")


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


def _holds_what_units_do(context: _Context) -> None:
    """A fresh run of the subject gives every exemplar its value at its position."""
    subject, exemplars = context.inputs.get("subject"), context.noun
    if subject is None or "text" not in exemplars.stimuli.kind.names or exemplars.basis != "neurons":
        return
    path = exemplars.site.path
    for row in np.linspace(0, len(exemplars) - 1, 20, dtype=int).tolist() if len(exemplars) else ():
        one = exemplars[row]
        values = as_numpy(subject.run([list(one.ids)], record=[path], logits=False).recording[path])
        fresh = float(values[one.position, one.unit])
        near = abs(fresh - one.value) <= CLOSE * max(1.0, float(np.abs(values).max()))
        _refuse(not near, f"unit {one.unit} at {one.position}: {one.value} held, {fresh} in a fresh run")


def _parts_training_from_test(context: _Context) -> None:
    """What is drawn for training is never drawn for testing."""
    sides = [{(one.ids, one.image) for one in side} for side in context.noun.split(context.trial.seed)]
    _refuse(sides[0] & sides[1], "a stimulus is on both sides")


_GENERAL: tuple[Callable[[_Context], None], ...] = (
    _is_complete,
    _round_trips_options,
    _gives_its_noun,
    _repeats,
    _refuses_too_few,
    _refuses_what_is_no_subject,
    _is_json,
)
_OF_NOUN: Mapping[str, tuple[Callable[[_Context], None], ...]] = {
    "Scores": (_saves_and_loads, _has_valid_keys),
    "Descriptions": (_saves_and_loads,),
    "Basis": (_saves_and_loads,),
    "Exemplars": (_saves_and_loads, _holds_what_units_do, _parts_training_from_test),
    "Edit": (_saves_and_loads, _is_undone_to_the_bit, _refuses_other_weights),
    "Readout": (_saves_and_loads,),
}
"""Noun given → what a method that gives it must keep as well."""


def _checks_of(method: Method, oracle: object) -> list[Callable[[_Context], None]]:
    return [*_GENERAL, *_OF_NOUN.get(method.gives, ()), *([_equals_its_oracle] if oracle is not None else [])]


def _name(check: Callable[..., Any]) -> str:
    return check.__name__.strip("_").replace("_", " ")
