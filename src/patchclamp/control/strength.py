"""Measure how generated text changes with the strength of a direction, beside random directions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float

from patchclamp.control.steer import push
from patchclamp.core.arguments import Natural, Positive, checked
from patchclamp.core.basis import Basis
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate
from patchclamp.core.intervention import At, Intervention
from patchclamp.core.stats import Interval, mean_interval, wilson_interval
from patchclamp.core.stimulus import Stimulus
from patchclamp.core.subject import Progress
from patchclamp.core.task import Task
from patchclamp.subjects.protocols import Generates, Records

ROWS = 400
"""Continuations that are generated together."""
BATCH = 32
DOUBLINGS, HALVINGS = 20, 20
MULTIPLES = (0.0, 0.5, 1.0, 2.0, 3.0)


class Writes(Records, Generates, Protocol):
    """A subject that continues text, and gives its likelihood."""


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
    temperature: float = 1.0,
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

    Cost: (1 + n_random) · strengths · prompts continuations, and a forward pass over those of the direction itself.
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


def random_directions(basis: Basis, n: int, *, unit: int = 0, seed: int = 0) -> Basis:
    """Return n random directions of the norm of one of a basis, at its site: the random controls of steering.

    Args:
        basis: directions d with their site.
        n: how many.
        unit: the direction whose norm they have.
        seed: of the draw.

    Returns:
        Basis: decoder ``(n, width)``, uniform on the sphere of radius ‖d‖.

    Example:
        >>> random = random_directions(Basis("up", "directions", decoder=2 * np.eye(3)), 5)
        >>> np.linalg.norm(random.decoder, axis=1).round(4).tolist()
        [2.0, 2.0, 2.0, 2.0, 2.0]
    """
    assert basis.decoder is not None
    direction = np.asarray(basis.decoder[unit], dtype=np.float64)
    noise = np.random.default_rng(seed).standard_normal((n, len(direction)))
    noise *= np.linalg.norm(direction) / np.linalg.norm(noise, axis=1, keepdims=True)
    return replace(basis, decoder=noise.astype(np.float32), encoder=None)


@checked
def match_kl(
    subject: Records, basis: Basis, shown: Sequence[Any], *, nats: float = 0.1, unit: Natural = 0, at: At = None
) -> float:
    """Return the strength at which a direction changes next-token predictions by a number of nats.

    The mean over tokens of KL(P ‖ P_s), P without the direction and P_s with strength s, over the same tokens; s by
    doubling, then bisection to 1 % of the nats.

    Args:
        subject: a language model.
        basis: directions with their site.
        shown: texts, or stimuli: what the subject itself writes without the direction.
        nats: the budget, above 0.
        unit: which direction.
        at: positions where it is added.

    Returns:
        float: strength in the site's units of activation.

    Raises:
        PatchclampError: a budget that is none, or that no strength reaches.

    Cost: about 20 forward passes over the texts.

    Example:
        >>> from patchclamp.opening import load
        >>> cat = load("organism:cat")
        >>> width = cat.site("blocks.0.resid_out").width
        >>> basis = Basis("up", "directions", decoder=np.eye(width), site="blocks.0.resid_out")
        >>> match_kl(cat, basis, ["the old cat"], nats=0.1) > 0
        True
    """
    if not nats > 0:
        raise PatchclampError(expected="a budget above 0 nats", got=str(nats), remedy="0.1 is the default.")
    before = [_log_softmax(logits) for logits in _logits(subject, shown)]

    def divergence(strength: float) -> float:
        after = _logits(subject, shown, [push(basis, strength, unit=unit, at=at)])
        rows = [(np.exp(b) * (b - _log_softmax(a))).sum(-1) for b, a in zip(before, after, strict=True)]
        return float(np.nan_to_num(np.concatenate(rows).mean(), nan=np.inf))

    low, high = 0.0, float(basis.provenance.extra.get("distance", 1.0)) / 16
    for _ in range(DOUBLINGS):
        if divergence(high) >= nats:
            break
        low, high = high, 2 * high
    else:
        raise PatchclampError(
            expected=f"a strength that moves predictions by {nats:g} nats",
            got=f"{divergence(low):.3g} nats at {low:.3g}",
            remedy="Give a strength, or a smaller budget.",
        )
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        found = divergence(middle)
        if abs(found - nats) <= 0.01 * nats:
            return middle
        low, high = (low, middle) if found > nats else (middle, high)
    return low


def _logits(subject: Records, shown: Sequence[Any], changes: Sequence[Intervention] = ()) -> list[np.ndarray]:
    """Return each text's logits, ``(position, token)``, in double precision."""
    found = []
    for start in range(0, len(shown), BATCH):
        part = list(shown[start : start + BATCH])
        run = subject.run(part, interventions=list(changes))
        lengths = [len(one) for one in run.stimuli]
        logits = np.asarray(run.logits.float().cpu(), dtype=np.float64)
        found += [row[:n] for row, n in zip(logits, lengths, strict=True)]
    return found


def _log_softmax(logits: Float[np.ndarray, "position token"]) -> Float[np.ndarray, "position token"]:
    shifted: np.ndarray = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def continue_text(
    subject: Writes,
    shown: Sequence[Any],
    changes: Sequence[Intervention],
    max_new_tokens: int,
    temperature: float,
    seed: int,
    tick: Callable[[int], None] = lambda _: None,
) -> list[list[Any]]:
    """Generate continuations of all prompts under each change, several changes to a batch.

    Args:
        subject: a language model that generates.
        shown: the prompts.
        changes: interventions, one per row of the result.
        max_new_tokens: of a continuation.
        temperature: of the sampling; 0 takes the likeliest token.
        seed: of the sampling.
        tick: called with continuations done.

    Returns:
        list: per change the continuations of every prompt.
    """
    made: list[list[Any]] = []
    several = max(ROWS // len(shown), 1)
    for start in range(0, len(changes), several):
        part = changes[start : start + several]
        found = subject.generate(
            [prompt for _ in part for prompt in shown],
            interventions=[[one] for one in part for _ in shown],
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed + start,
        )
        made += [found[i * len(shown) : (i + 1) * len(shown)] for i in range(len(part))]
        tick(len(made) * len(shown))
    return made


def _rate(hits: Sequence[int], n: int) -> Estimate:
    """Return the first count as a share, beside the others."""
    value, others = hits[0] / n, np.array(hits[1:]) / n
    if not len(others):
        return Estimate(value, wilson_interval(hits[0], n), n, "share of continuations")
    low, high = np.quantile(others, [0.025, 0.975])
    null = Interval(float(low), float(high), 0.95, f"{len(others)} random directions of the same norm")
    p = float((1 + (others >= value).sum()) / (1 + len(others)))
    return Estimate(value, wilson_interval(hits[0], n), n, "share of continuations", null, p)


def measure_perplexity(subject: Writes, made: Sequence[Any]) -> Estimate:
    """Return exp of the mean over continuations of their nats per token, under the subject as it is."""
    wrote = [one for one in made if len(one.ids)]
    if not wrote:
        raise PatchclampError(
            expected="continuations of at least one token", got="none", remedy="Make the strength smaller."
        )
    texts = [whole(one) for one in wrote]
    rows = zip(_logits(subject, texts), texts, wrote, strict=True)
    nats = np.array([_nats(row, text.ids, len(one.prompt.ids)) for row, text, one in rows])
    found = mean_interval(nats)
    interval = Interval(float(np.exp(found.low)), float(np.exp(found.high)), found.level, found.method)
    return Estimate(float(np.exp(nats.mean())), interval, len(nats), "perplexity")


def whole(made: Any) -> Stimulus:
    """Return a prompt and what was written after it as one stimulus."""
    return Stimulus.of(np.concatenate([made.prompt.ids, made.ids]))


def _nats(logits: Float[np.ndarray, "position token"], ids: np.ndarray, start: int) -> float:
    """Return the mean surprise of the tokens from ``start`` on."""
    before = _log_softmax(logits[start - 1 : len(ids) - 1])
    return float(-before[np.arange(len(before)), ids[start:]].mean())
