"""Measure how generated text changes with the strength of a direction, beside random directions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from patchclamp.ablate.steering import Writes, continue_text, measure_perplexity, push, random_directions
from patchclamp.core.arguments import Natural, Positive, checked
from patchclamp.core.basis import Basis
from patchclamp.core.estimate import Estimate
from patchclamp.core.stats import Interval, wilson_interval
from patchclamp.core.subject import Progress
from patchclamp.core.task import Task

MULTIPLES = (0.0, 0.5, 1.0, 2.0, 3.0)


@checked
@dataclass(frozen=True, eq=False)
class SteeringCurve:
    """Hold the effect of a direction on generated text, strength by strength.

    Args:
        wanted: the label that is counted.
        site: where the direction is added.
        strengths: in the site's units of activation.
        rates: share of continuations with the label; the null is the same with random directions of the same norm.
        perplexities: of the continuations under the subject without the direction.
    """

    wanted: str
    site: str
    strengths: tuple[float, ...]
    rates: tuple[Estimate, ...]
    perplexities: tuple[Estimate, ...]

    def to_json(self, limit: int = 20) -> dict[str, Any]:
        """Return the curve as JSON-ready data, a row per strength."""
        rows = list(zip(self.strengths, self.rates, self.perplexities, strict=True))[:limit]
        return {
            "wanted": self.wanted,
            "site": self.site,
            "rows": [{"strength": s, "rate": r.to_json(), "perplexity": p.to_json()} for s, r, p in rows],
        }


@checked
def measure_steering(
    subject: Writes,
    basis: Basis,
    prompts: Task,
    wanted: str,
    read: Callable[[str], str],
    *,
    strengths: Sequence[float] | None = None,
    unit: Natural = 0,
    n_random: Natural = 99,
    max_new_tokens: Positive = 24,
    temperature: float | int = 1.0,
    seed: Natural = 0,
    progress: Progress | None = None,
) -> SteeringCurve:
    """Measure how often generated text has a label when a direction is added, beside random directions.

    Args:
        subject: continues text.
        basis: a direction with its site, as ``steer`` finds it.
        prompts: openings that were not fitted on and say nothing of the label.
        wanted: the label that is counted.
        read: continuation → its label, or an empty text.
        strengths: in the site's units of activation; by default 0, ½, 1, 2 and 3 times the distance between the
            labels' means.
        unit: which direction.
        n_random: random directions of the same norm, each at every strength.
        max_new_tokens: of a continuation.
        temperature: of the sampling; 0 takes the likeliest token.
        seed: of sampling and random directions.
        progress: called with continuations done and in all.

    Returns:
        SteeringCurve: rates with Wilson intervals, their null and p; perplexities with intervals over prompts.

    Raises:
        PatchclampError: no site or direction of that number, or prompts that do not leave room to continue.

    Source: 2312.06681 measures labels by strength; the random directions are ours.

    Cost: (1 + n_random) · strengths · prompts continuations, and a forward pass over those of the direction itself.

    Example:
        >>> from patchclamp.loaders import load
        >>> up = Basis("up", "directions", decoder=np.eye(16)[:1], site="blocks.0.mlp.act")
        >>> prompts = Task.of("the old cat", " sat")
        >>> curve = measure_steering(
        ...     load("organism:cat"), up, prompts, "sat", str.strip, strengths=[0.0, 1.0], n_random=2, max_new_tokens=1
        ... )
        >>> curve.strengths
        (0.0, 1.0)
    """
    push(basis, 0.0, unit=unit)
    if strengths is None:
        distance = float(basis.provenance.extra.get("distance", 1.0))
        strengths = [multiple * distance for multiple in MULTIPLES]
    shown = [case.shown for case in prompts.cases]
    total, rates, perplexities = len(strengths) * (1 + n_random) * len(shown), [], []
    # Without strength nothing is added, so that random directions change nothing there.
    random = random_directions(basis, n_random, unit=unit, seed=seed) if n_random else None
    for i, strength in enumerate(strengths):
        changes = [push(basis, strength, unit=unit)]
        if random is not None and strength:
            changes += [push(random, strength, unit=k) for k in range(n_random)]

        def tick(done: int, begun: int = i * (1 + n_random) * len(shown)) -> None:
            if progress is not None:
                progress(begun + done, total)

        made = continue_text(subject, shown, changes, max_new_tokens, temperature, seed, tick)
        hits = [sum(read(one.text) == wanted for one in row) for row in made]
        rates.append(_rate(hits, len(shown)))
        perplexities.append(measure_perplexity(subject, made[0]))
    assert basis.site is not None
    return SteeringCurve(wanted, basis.site, tuple(map(float, strengths)), tuple(rates), tuple(perplexities))


def _rate(hits: Sequence[int], n: int) -> Estimate:
    """Return the first count as a share, beside the others."""
    value, others = hits[0] / n, np.array(hits[1:]) / n
    if not len(others):
        return Estimate(value, wilson_interval(hits[0], n), n, "share of continuations")
    low, high = np.quantile(others, [0.025, 0.975])
    null = Interval(float(low), float(high), 0.95, f"{len(others)} random directions of the same norm")
    p = float((1 + (others >= value).sum()) / (1 + len(others)))
    return Estimate(value, wilson_interval(hits[0], n), n, "share of continuations", null, p)
