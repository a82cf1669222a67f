"""Add a direction to text that a network writes, and measure how far the text moves along it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float

from patchclamp.core.arguments import Natural, Positive, checked
from patchclamp.core.basis import Basis
from patchclamp.core.controls import RandomControls
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate
from patchclamp.core.intervention import At, Intervention, change
from patchclamp.core.plain_numbers import format_signed
from patchclamp.core.provenance import Provenance
from patchclamp.core.receipt import Receipt
from patchclamp.core.recording import as_numpy
from patchclamp.core.stats import Interval, mean_interval
from patchclamp.core.stimulus import Stimulus
from patchclamp.core.subject import Progress
from patchclamp.subjects.protocols import Generates, Records

ROWS = 400
"""Continuations that are generated together."""
BATCH, READ = 32, 64
DOUBLINGS, HALVINGS = 20, 20


class Writes(Records, Generates, Protocol):
    """A subject that continues text, and gives its likelihood."""


@dataclass(frozen=True, eq=False)
class SteeringEffect:
    """What a direction does to sampled text.

    Args:
        site: where the direction is added.
        strength: in the site's units of activation.
        receipt: how far the text moves along the direction, read without it, beside random directions.
        perplexity: of the text without the direction, under the subject as it is.
        perplexity_steered: of the text with it, likewise.
        provenance: of the direction.
    """

    site: str
    strength: float
    receipt: Receipt
    perplexity: Estimate
    perplexity_steered: Estimate
    provenance: Provenance

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON-ready data."""
        return {
            "site": self.site,
            "strength": self.strength,
            "receipt": self.receipt.to_json(),
            "perplexity": self.perplexity.to_json(),
            "perplexity_steered": self.perplexity_steered.to_json(),
            "provenance": self.provenance.to_json(),
        }


@checked
def measure_steered(
    subject: Writes,
    basis: Basis,
    prompts: Sequence[Any],
    strength: float | None = None,
    *,
    nats: float = 0.1,
    at: At = None,
    unit: Natural = 0,
    n_random: Positive = 99,
    max_new_tokens: Positive = 24,
    seed: Natural = 0,
    progress: Progress | None = None,
) -> SteeringEffect:
    """Measure how far sampled text moves along a direction that is added while it is written.

    Continuations are sampled at temperature 1 and shown to the subject again, without any direction, and their mean
    activity at the site is projected on it. The effect is that of the steered text minus that of the text without, in
    units of the distance between the labels' means where the basis says it: 1 is the whole way from one label to the
    other. Random directions of the same norm are added at the same strength, and their text is projected on the same
    direction.

    Args:
        subject: a language model that generates.
        basis: directions with their site, as ``steer`` finds them.
        prompts: texts that are continued, once each; one may stand several times.
        strength: in the site's units of activation; the default is the one that changes next-token predictions by
            ``nats``.
        nats: mean KL divergence per token of the default strength.
        at: positions; the default is every position and every generated token.
        unit: which direction.
        n_random: random directions.
        max_new_tokens: of a continuation.
        seed: of sampling and random directions.
        progress: called with continuations done and in all.

    Returns:
        SteeringEffect: a receipt over the continuations, and their perplexity with and without the direction.

    Raises:
        PatchclampError: no site or direction of that number, no prompt, no room to continue, a strength at which
            answers are not finite, or a budget that no strength reaches.

    Source: ours; directions added to the residual stream as in 2308.10248.

    Cost: (2 + n_random) · prompts continuations, a forward pass over each, and 20 more for the default strength.

    Example:
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> up = Basis("up", "directions", decoder=np.eye(16)[:1], site="blocks.0.mlp.act")
        >>> found = measure_steered(cat, up, ["the old cat"] * 4, 5.0, n_random=3, max_new_tokens=2)
        >>> found.receipt.measured.n
        4
    """
    push(basis, 0.0, unit=unit)
    assert basis.decoder is not None
    assert basis.site is not None
    shown = list(prompts)
    if not shown:
        raise PatchclampError(expected="at least one prompt", got="none", remedy="Give some.")
    [bare] = continue_text(subject, shown, [push(basis, 0.0, unit=unit)], max_new_tokens, 1.0, seed)
    if strength is None:
        strength = match_kl(subject, basis, [whole(one) for one in bare if len(one.ids)], nats=nats, unit=unit, at=at)
    direction = np.asarray(basis.decoder[unit], dtype=np.float64)
    random = random_directions(basis, n_random, unit=unit, seed=seed)
    changes = [push(basis, strength, unit=unit, at=at)] + [
        push(random, strength, unit=i, at=at) for i in range(n_random)
    ]

    def tick(done: int) -> None:
        if progress is not None:
            progress(done, len(changes) * len(shown))

    made = continue_text(subject, shown, changes, max_new_tokens, 1.0, seed, tick)
    places = [_project(subject, row, basis.site, direction) for row in (bare, *made)]
    distance = float(basis.provenance.extra.get("distance", 1.0))
    moved = [(row - places[0])[np.isfinite(row - places[0])] / distance for row in places[1:]]
    effects = [float(row.mean()) if len(row) else np.nan for row in moved]
    measured = Estimate(
        effects[0],
        mean_interval(moved[0], seed=seed) if len(moved[0]) > 1 else None,
        len(moved[0]),
        "distances between the labels' means" if "distance" in basis.provenance.extra else "activation",
    )
    receipt = Receipt(
        "text moves along the direction",
        (f"{basis.site}/{basis.name}/{unit}",),
        strength / distance,
        measured,
        RandomControls.of("random directions of the same norm", effects[1:], seed=seed),
        finding=f"with the direction, sampled text moves along it by {format_signed(effects[0], 2)} {measured.unit}",
    )
    before, after = measure_perplexity(subject, bare), measure_perplexity(subject, made[0])
    return SteeringEffect(basis.site, strength, receipt, before, after, basis.provenance)


@checked
def push(basis: Basis, strength: float, *, unit: Natural = 0, at: At = None) -> Intervention:
    """Return the intervention that adds a direction at its site: x′ = x + strength · d.

    Args:
        basis: directions with their site, as ``steer`` finds them.
        strength: in the site's own units of activation; below 0 it pushes the other way.
        unit: which direction.
        at: where; by default every position and every generated token.

    Returns:
        Intervention: ``add`` of strength · d.

    Raises:
        PatchclampError: a basis without a site or a direction of that number.

    Source: 2308.10248, and 2312.06681 with a difference of means.

    Example:
        >>> import numpy as np
        >>> basis = Basis("up", "directions", decoder=np.eye(2), site="blocks.0.resid_out")
        >>> push(basis, 3.0).value.tolist()
        [3.0, 0.0]
    """
    if basis.site is None or basis.decoder is None or unit >= basis.n_units:
        raise PatchclampError(
            expected="a basis of directions with their site, and the number of one",
            got=f"{basis.name} of {basis.n_units} at {basis.site or 'no site'}, unit {unit}",
            remedy="steer(subject, task) finds one; dataclasses.replace(basis, site=…) says where it belongs.",
        )
    return change("add", basis.site, value=strength * basis.decoder[unit], at=at)


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
    # Plain directions, whatever else the basis has: an encoder, its bias and its activation are of its own units.
    decoder = noise.astype(np.float32)
    return Basis(basis.name, "directions", decoder=decoder, site=basis.site, provenance=basis.provenance)


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
        >>> from patchclamp.loaders import load
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
        moved = divergence(middle)
        if abs(moved - nats) <= 0.01 * nats:
            return middle
        low, high = (low, middle) if moved > nats else (middle, high)
    return low


def _logits(subject: Records, shown: Sequence[Any], changes: Sequence[Intervention] = ()) -> list[np.ndarray]:
    """Return each text's logits, ``(position, token)``, in double precision."""
    rows = []
    for start in range(0, len(shown), BATCH):
        part = list(shown[start : start + BATCH])
        run = subject.run(part, interventions=list(changes))
        lengths = [len(one) for one in run.stimuli]
        logits = np.asarray(run.logits.float().cpu(), dtype=np.float64)
        rows += [row[:n] for row, n in zip(logits, lengths, strict=True)]
    return rows


def _log_softmax(logits: Float[np.ndarray, "position token"]) -> Float[np.ndarray, "position token"]:
    shifted: np.ndarray = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def continue_text(
    subject: Writes,
    shown: Sequence[Any],
    changes: Sequence[Intervention],
    max_new_tokens: int,
    temperature: float | int,
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
        generated = subject.generate(
            [prompt for _ in part for prompt in shown],
            interventions=[[one] for one in part for _ in shown],
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed + start,
        )
        made += [generated[i * len(shown) : (i + 1) * len(shown)] for i in range(len(part))]
        tick(len(made) * len(shown))
    return made


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
    around = mean_interval(nats)
    interval = Interval(float(np.exp(around.low)), float(np.exp(around.high)), around.level, around.method)
    return Estimate(float(np.exp(nats.mean())), interval, len(nats), "perplexity")


def whole(made: Any) -> Stimulus:
    """Return a prompt and what was written after it as one stimulus."""
    return Stimulus.of(np.concatenate([made.prompt.ids, made.ids]))


def _nats(logits: Float[np.ndarray, "position token"], ids: np.ndarray, start: int) -> float:
    """Return the mean surprise of the tokens from ``start`` on."""
    before = _log_softmax(logits[start - 1 : len(ids) - 1])
    return float(-before[np.arange(len(before)), ids[start:]].mean())


def _project(
    subject: Writes, made: Sequence[Any], site: str, direction: Float[np.ndarray, " width"]
) -> Float[np.ndarray, " text"]:
    """Return the mean projection of each text's continuation, read without any direction; nan of an empty one."""
    projections = np.full(len(made), np.nan)
    wrote = [i for i, one in enumerate(made) if len(one.ids)]
    for start in range(0, len(wrote), READ):
        part = wrote[start : start + READ]
        recording = subject.run([whole(made[i]) for i in part], record=[site], logits=False).recording
        for place, i in enumerate(part):
            rows = np.asarray(as_numpy(recording.of(site, place)), dtype=np.float64)
            projections[i] = float((rows[len(made[i].prompt.ids) :] @ direction).mean())
    return projections
