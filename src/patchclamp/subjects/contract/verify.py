"""Of a model on its own weights, and of a family on its tiny model."""

import importlib
import math
import pkgutil
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import cache, partial

import torch

from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.subject import Progress
from patchclamp.subjects.contract import kinds as folder
from patchclamp.subjects.contract.laws import native_gap
from patchclamp.subjects.contract.part import Kind, Part, Probe, Verdict
from patchclamp.subjects.language_lacks import refuse_no_tokens
from patchclamp.subjects.model import Model

Check = Callable[[], Verdict]


@checked
def verify(model: Model, *, progress: Progress | None = None) -> list[Verdict]:
    """Prove that what the rig shows is the model: equalities, then the laws of its family on its own weights.

    Args:
        model: a language model or an image model.
        progress: called with checks done and checks in all.

    Returns:
        list[Verdict]: deviations in logits or relative units; limits scale with the dtype's precision, of all laws but
            that of attention to a tenth at most.

    Cost: some twenty forward passes over three random stimuli.

    Example:
        >>> from patchclamp.loaders import load
        >>> verify(load("organism:cat"))[0].deviation
        0.0
    """
    refuse_no_tokens(model, "the contract, which compares the logits of every token")
    kind = kind_of(model)
    precision = torch.finfo(model.dtype).eps / torch.finfo(torch.float32).eps
    family = model.family
    excluded = {} if family is None else family.excluded

    def check(number: int) -> Verdict:
        part = kind.parts[number - 1]
        if number in excluded:
            return Verdict(part.name, math.nan, None, excluded=excluded[number])
        return Verdict(part.name, deviation(part, model), part.limit_in(precision))

    numbers = kind.without_family if family is None else kind.read_only
    return _run_checks([*_equalities(model), *(partial(check, number) for number in numbers)], progress)


def verify_family(name: str, *, progress: Progress | None = None) -> list[Verdict]:
    """Run the contract on a family's tiny model, and each part on its wrong mapping, in float32.

    Args:
        name: family name, of text or of images.
        progress: called with checks done and checks in all.

    Returns:
        list[Verdict]: equalities, then one per part; ``rejected`` is what the wrong mapping gave.

    Raises:
        PatchclampError: no such family.

    Cost: one to two seconds on one core.
    """
    every = kinds()
    kind = next((kind for kind in every if name in kind.family_names()), None)
    if kind is None:
        raise PatchclampError(
            expected=f"a family among {', '.join(sorted(name for kind in every for name in kind.family_names()))}",
            got=repr(name),
            remedy="Other architectures work through module sites; docs/howto/family.md says how to add a family.",
        )
    right = kind.family(name)
    module = right.tiny()
    model = kind.wrap(module, right)

    def check(number: int, part: Part) -> Verdict:
        if number in right.excluded:
            return Verdict(f"{number}. {part.name}", math.nan, None, excluded=right.excluded[number])
        # A copy, for a wrong mapping may leave something behind in its module.
        wrong = kind.wrap(deepcopy(module), part.make_wrong(right))
        rejected = deviation(part, wrong, stop_above=part.limit)
        return Verdict(f"{number}. {part.name}", deviation(part, model), part.limit, rejected)

    parts = [partial(check, number, part) for number, part in enumerate(kind.parts, 1)]
    return _run_checks([*_equalities(model), *parts], progress)


@cache
def kinds() -> tuple[Kind, ...]:
    """Return the kinds of stimulus that the contract knows: the files of their folder."""
    names = sorted(m.name for m in pkgutil.iter_modules(folder.__path__))
    return tuple(importlib.import_module(f"{folder.__name__}.{name}").KIND for name in names)


def kind_of(model: Model) -> Kind:
    """Return the kind of stimulus that a model is shown.

    Raises:
        PatchclampError: the contract knows none of it.
    """
    for kind in kinds():
        if isinstance(model, kind.subject):
            return kind
    raise PatchclampError(
        expected="a language model or an image model", got=type(model).__name__, remedy="Compare its outputs yourself."
    )


def probes(model: Model) -> Sequence[Probe]:
    """Return the random batches on which every law is checked."""
    return kind_of(model).probes(model)


def deviation(part: Part, model: Model, *, stop_above: float = math.inf) -> float:
    """Return a part's worst deviation over all batches; infinite where the check breaks.

    Args:
        part: the part to check.
        model: the subject.
        stop_above: return the first deviation above this one, without looking for a worse one.

    Returns:
        float: in the units of what the law compares: logits, or values at a site.
    """
    worst = -math.inf
    try:
        for probe in probes(model):
            for gaps in part.check(probe):
                worst = max(worst, math.inf if math.isnan(gaps) else gaps)
                if worst > stop_above:
                    return worst
    except (PatchclampError, RuntimeError, KeyError, ValueError, IndexError):
        return math.inf
    # A check that compared nothing has not held.
    return worst if worst > -math.inf else math.inf


def _equalities(model: Model) -> list[Check]:
    """Return the checks of max |Δlogit|: native and tap against the bare network, eager against native."""
    batches = probes(model)

    def worst(name: str, difference: Callable[[Probe], float], limit: float | None) -> Verdict:
        return Verdict(name, max(map(difference, batches)), limit)

    checks: list[Check] = [partial(worst, "native, every site recorded", native_gap, 0.0)]
    several = sum(site.calls > 1 for site in model.sites())
    if several:
        name, why = f"{several} sites of modules that run several times", "which run is meant would be a guess"
        checks.append(partial(Verdict, name, math.nan, None, excluded=why))
    if model.capabilities.attention:
        checks += [partial(worst, name, *about) for name, about in kind_of(model).equalities.items()]
    return checks


def _run_checks(checks: Sequence[Check], progress: Progress | None) -> list[Verdict]:
    """Make every check, and say how far it is."""
    verdicts: list[Verdict] = []
    for check in checks:
        verdicts.append(check())
        if progress is not None:
            progress(len(verdicts), len(checks))
    return verdicts
