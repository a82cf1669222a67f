"""Rules of the engine that a method names: a gradient, its integral along a path, replacements, or magnitudes."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib import import_module
from inspect import signature
from typing import Any

from patchclamp.ablate import Baseline
from patchclamp.attribute.gradients import Ends, differentiate_ends
from patchclamp.core.checks import at_least
from patchclamp.core.errors import PatchclampError
from patchclamp.core.method import Method
from patchclamp.core.method_files import find_method
from patchclamp.core.method_index import list_names
from patchclamp.core.metric import EachMetric, Metric
from patchclamp.core.options import to_json
from patchclamp.core.stimulus import Shown
from patchclamp.subjects.model import Model
from patchclamp.subjects.relevance_rules import check_rules


@dataclass(frozen=True)
class Gradient:
    """Score (n − r) · ∂m/∂n, from one backward pass.

    A method that takes the gradient another way subclasses it in its own file, with ``differentiate`` and ``passes``.

    Args:
        rules: relevance rules that replace the backward pass; none for the plain gradient.
    """

    rules: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_rules(self.rules)

    @property
    def passes(self) -> tuple[int, int]:
        """Forward and backward passes of the prompt that is patched into."""
        return 1, 1

    def differentiate(
        self,
        model: Model,
        shown: Sequence[Shown],
        counterparts: Sequence[Shown] | None,
        metric: Metric | EachMetric,
        paths: Sequence[str],
        *,
        plain: Baseline,
    ) -> Ends:
        """Return values, baseline and gradients at sites for prompts of one length.

        Args:
            model: the subject.
            shown: ``(case,)`` prompts x, which are patched into.
            counterparts: ``(case,)`` prompts x′, whose values are r; None where ``plain`` is.
            metric: m.
            paths: sites.
            plain: r where there are no counterparts.

        Returns:
            Ends: activations, gradients, m and baseline.

        Source: 2403.00745 for the gradient, 2508.21258 for relevance rules.
        """
        return differentiate_ends(model, shown, counterparts, metric, paths, self.rules, plain=plain)


@dataclass(frozen=True)
class PathIntegral:
    """Score (n − r) · ∫ ∂m/∂n along the straight path from baseline to value.

    Args:
        steps: Gauss-Legendre points.
    """

    steps: int = 10

    def __post_init__(self) -> None:
        at_least("the number of steps", self.steps, 1, remedy="10 is the usual number.")


@dataclass(frozen=True)
class Replacement:
    """Score m(x) − m(x with n := r), one unit at a time."""


@dataclass(frozen=True)
class Magnitude:
    """Score ‖n‖, which predicts no change of m."""


Rule = Gradient | PathIntegral | Replacement | Magnitude


def find_rule(
    method: str | Method | Rule,
    key: str = "",
    *,
    rules: Sequence[str] | None = None,
    steps: int | None = None,
    seed: int = 0,
) -> tuple[str, Rule]:
    """Return the name of a method and its rule for the engine.

    Args:
        method: a card of the room attribute that scores units or edges, or its name; or a rule.
        key: ``unit`` or ``edge``: what it must score; the default is either.
        rules: relevance rules; only for methods that have this option.
        steps: points of a path; ignored by methods without one.
        seed: of the rule's draws; ignored by methods that draw nothing.

    Returns:
        tuple: the name, and the rule.

    Raises:
        PatchclampError: an unknown method, one of another engine, or rules of a method that has none.

    Example:
        >>> find_rule("integrated_gradients", "unit", steps=4)
        ('integrated_gradients', PathIntegral(steps=4))
    """
    if isinstance(method, Rule):
        return type(method).__name__.lower(), method
    PathIntegral(1 if steps is None else steps)
    card = find_method(method, "attribute")
    build = getattr(import_module(card.run.__module__), "rule", None)
    keys = (key,) if key else ("unit", "edge")
    if build is None or not set(keys) & set(card.keys):
        known = list_names("attribute", *keys)
        raise PatchclampError(
            expected=f"a method that scores {' or '.join(f'{one}s' for one in keys)}: {', '.join(known)}",
            got=card.name,
            remedy="Choose one of these.",
        )
    names = {field.name for field in fields(card.options)}
    if rules is not None and "rules" not in names:
        raise PatchclampError(
            expected=f"rules with {', '.join(list_names('attribute', 'unit', 'edge', option='rules'))}",
            got=f"rules with {card.name}",
            remedy="Leave them out.",
        )
    given: dict[str, Any] = {} if rules is None else {"rules": tuple(rules)}
    given |= {"steps": steps} if steps is not None and "steps" in names else {}
    drawn = {"seed": seed} if "seed" in signature(build).parameters else {}
    rule: Rule = build(card.make_options(given), **drawn)
    return card.name, rule


def describe_rule(rule: Rule) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what provenance holds of a rule: its options, and ``measured`` where it replaces.

    Example:
        >>> describe_rule(Gradient(("ln",))), describe_rule(Replacement())
        (({'rules': ['ln']}, {}), ({}, {'measured': True}))
    """
    return to_json(rule), {"measured": True} if isinstance(rule, Replacement) else {}
