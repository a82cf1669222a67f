"""Intervention: does clamping the unit make the subject write what the description says?"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from patchclamp.core.descriptions import Descriptions
from patchclamp.core.exemplars import Exemplars
from patchclamp.core.intervention import Intervention, change
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.options import option
from patchclamp.core.subject import Progress
from patchclamp.describe.judge import Reader
from patchclamp.describe.readers import ModelReader
from patchclamp.describe.scoring import Measured, score_units
from patchclamp.describe.window_intervals import WindowScore, mean
from patchclamp.describe.windows import UnitRows
from patchclamp.subjects.protocols import Generates, Intervenes, Unembeds

STEPS = 12
"""Halvings in which the strength of a clamp is found."""
STRONGEST = 2.0**10
"""Multiples of the unit's highest activation beyond which no clamp is tried."""


class Subject(Intervenes, Generates, Unembeds, Protocol):
    """What the intervention needs."""


@dataclass(frozen=True)
class InterventionOptions:
    """Options of the intervention."""

    sigma: float = option(1.0, "the strength: mean KL(clamped || clean) of the next token, in nats", least=0.0)
    prompts: int = option(20, "prompts, the openings of silent windows", least=2)
    opening: int = option(8, "tokens of a prompt", least=1)
    new: int = option(16, "tokens that are written after it", least=1)


def intervention(
    subject: Subject,
    exemplars: Exemplars,
    descriptions: Descriptions,
    options: InterventionOptions,
    reader: Reader | None = None,
    *,
    seed: int = 0,
    progress: Progress,
) -> Descriptions:
    r"""Score descriptions by what the subject writes while the unit is clamped.

    S = E over prompts x of log p(z | G_I(x)) − log p(z | G(x)): z the description, G(x) what the subject writes after x
    at temperature 1, G_I(x) what it writes while the unit is set to c at every position, p that of the reader. All are
    compared at one strength σ = mean KL(clamped || clean) of the next token over all positions of the prompts; c > 0 is
    found by halving, and is the largest tried where none is strong enough.

    It scores what a unit does to the output. Descriptions of what it fires on may score low and be true: in the paper
    this score and fuzzing are slightly negatively correlated.

    Args:
        subject: whose unit is clamped; it also reads, where no other reader is given.
        exemplars: of the units; the openings of their silent windows are the prompts.
        descriptions: to be scored.
        options: strength, prompts, lengths.
        reader: another language model, or what counts words; the subject by default.
        seed: of prompts, of what is written, and of intervals.
        progress: called with units done and in all.

    Returns:
        Descriptions: with the score ``intervention`` in nats; 0 is chance.

    Raises:
        PatchclampError: exemplars of other units, a subject that does not write, or a site that cannot be changed.

    Source: 2410.13928, intervention scoring.

    Cost: per unit 13 forward passes and two continuations of each prompt.
    """
    who: Reader = ModelReader(subject) if reader is None else reader
    path, _, of = exemplars.site.path.partition("/")
    basis = of or exemplars.basis

    def score(text: str, rows: UnitRows) -> list[WindowScore]:
        prompts = _open_windows(exemplars, rows, options, rows.draw(seed))
        unit, highest = int(exemplars.unit[rows.active[0]]), float(exemplars.value[rows.active].max())
        clean = _log_p(subject, prompts, ())

        def clamp(value: float) -> Intervention:
            return change("set", path, unit, value=value, basis=basis)

        value = _find_strength(
            lambda value: _mean_kl(_log_p(subject, prompts, (clamp(value),)), clean), max(highest, 1e-3), options.sigma
        )
        written = [_write(subject, prompts, on, options.new, seed) for on in ((), (clamp(value),))]
        pairs = [(f"{one}\nThis text is about:", text) for texts in written for one in texts]
        known = [np.nan if one is None else one for one in who.log_likelihoods(pairs)]
        changes = np.array(known[len(prompts) :]) - np.array(known[: len(prompts)])
        held = changes[~np.isnan(changes)]
        return [WindowScore(*mean(held, rows.draw(seed)), len(held), len(changes) - len(held))]

    measured = Measured("intervention", "nats of log p", 0.0)
    return score_units(exemplars, descriptions, (measured,), who.name, score, progress)


def _open_windows(
    exemplars: Exemplars, rows: UnitRows, options: InterventionOptions, draw: np.random.Generator
) -> list[list[int]]:
    """Return the first tokens of some silent windows of a unit, as ids."""
    drawn = draw.choice(rows.silent, min(options.prompts, len(rows.silent)), replace=False)
    return [list(exemplars[int(row)].ids[: options.opening]) for row in np.sort(drawn)]


def _log_p(subject: Subject, prompts: list[list[int]], on: tuple[Intervention, ...]) -> list[torch.Tensor]:
    """Return log p of the next token at every position of each prompt, ``(position, token)``."""
    logits = subject.run(prompts, interventions=list(on)).logits
    return [torch.log_softmax(one[: len(ids)].double(), -1) for one, ids in zip(logits, prompts, strict=True)]


def _mean_kl(changed: list[torch.Tensor], clean: list[torch.Tensor]) -> float:
    """Return the mean KL(changed || clean) over all positions of all prompts, in nats."""
    each = [(one.exp() * (one - other)).sum(-1) for one, other in zip(changed, clean, strict=True)]
    return float(torch.cat(each).mean())


def _find_strength(kl: Any, highest: float, sigma: float) -> float:
    """Return the clamp at which the mean KL is σ, to about a hundredth; the largest where none is enough."""
    low, high = 0.0, highest
    while kl(high) < sigma and high < STRONGEST * highest:
        low, high = high, 2 * high
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if kl(middle) >= sigma else (middle, high)
    return high


def _write(subject: Subject, prompts: list[list[int]], on: tuple[Intervention, ...], new: int, seed: int) -> list[str]:
    """Return what the subject writes after each prompt at temperature 1."""
    made = subject.generate(prompts, interventions=list(on), max_new_tokens=new, temperature=1.0, seed=seed)
    return [one.text for one in made]


def _cost(sizes: Sizes, options: InterventionOptions) -> Cost:
    return Cost(forward=sizes.units * options.prompts * (1 + STEPS + 2 * options.new))


METHOD = Method(
    intervention,
    name="intervention",
    room="describe",
    kind="scorer",
    title="intervention: what the subject writes while the unit is clamped",
    question="Does clamping the unit make the subject write what the description says?",
    papers=(Paper("2410.13928", equation="intervention scoring"),),
    keys=("unit",),
    cost=_cost,
    oracle="oracles.scorers:intervention",
    calibrated_on=("language-gpt2:write",),
    must_show="tokens that neurons write score above the same tokens given to other neurons",
    options_at={"language-gpt2*": {"prompts": 10, "new": 8}},
    sources=("describe/readers.py", "describe/scoring.py", "describe/window_intervals.py", "describe/windows.py"),
)
