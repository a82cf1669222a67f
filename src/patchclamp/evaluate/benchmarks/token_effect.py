"""Measure whether clamping a neuron raises the token that describes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int

from patchclamp.core.checks import same_subject
from patchclamp.core.descriptions import Descriptions
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate
from patchclamp.core.intervention import Intervention, change
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.options import option
from patchclamp.core.stats import mean_interval
from patchclamp.core.subject import Progress
from patchclamp.core.task import Task
from patchclamp.core.unit import UnitKey
from patchclamp.evaluate.null import estimate_beside_null
from patchclamp.subjects.protocols import Intervenes, Unembeds


class Subject(Intervenes, Unembeds, Protocol):
    """What the benchmark needs."""


@dataclass(frozen=True)
class TokenEffectOptions:
    """Options of the token effect."""

    n_units: int = option(20, "neurons that are clamped: those of highest peak", least=2)
    strength: float = option(2.0, "the clamp, in multiples of the site's 99th percentile of |activation| over the task")
    branch: Literal["act", "up"] = option("act", "what is clamped: the neuron, or in a gated MLP its other branch")
    negative: bool = option(False, "clamp to −strength, under which the token should fall")
    against: Literal["neurons", "tokens"] = option("neurons", "the null: other neurons of the site, or other tokens")
    n_random: int = option(99, "random neurons of each site, or random tokens of each neuron", least=19, most=1000)


def token_effect(
    subject: Subject,
    task: Task,
    descriptions: Descriptions,
    options: TokenEffectOptions,
    *,
    seed: int = 0,
    progress: Progress,
) -> Estimate:
    r"""Measure by how much clamping described neurons raises the log-probability of the tokens that describe them.

    effect(i, t) = mean over cases and positions of log p(t | neuron i at c) − log p(t), c = strength · q, q the 99th
    percentile of |activation| at the neuron's site over the task. The value is the mean of effect(i, t_i) over the
    ``n_units`` neurons of highest peak, t_i the first token of each; with ``negative`` c is −strength · q and the value
    is −effect, so that it is positive where the token falls.

    The null is that of other neurons of the same sites on the same tokens, or of other tokens under the same clamps.
    The ceiling is the oracle row: for each token the neuron, own or drawn, that raises it most as measured.

    Args:
        subject: the language model that was described.
        task: prompts, whose answers are not used.
        descriptions: of its neurons by tokens of its vocabulary, with the measure ``peak``.
        options: clamps and null.
        seed: of the draws and of the interval.
        progress: called with clamps done and in all.

    Returns:
        Estimate: in nats; the interval resamples neurons.

    Raises:
        PatchclampError: descriptions of another model or without peaks, or a branch that the model lacks.

    Source: the causal validation of 2501.02688, which clamps single neurons; nulls, oracle row and interval are ours.

    Cost: a forward pass over the task per neuron, and ``n_random`` per site against neurons.
    """
    chosen = _choose(subject, descriptions, options)
    tokens = np.array([int(descriptions.terms[descriptions.index.place(key)][0]) for key in chosen])
    shown = [case.shown for case in task.cases]
    sites = list(dict.fromkeys(key.site for key in chosen))
    before, scales = _clean(subject, shown, sites, options.branch)
    draw = np.random.default_rng(seed)
    pools = {site: _draw(draw, subject, site, chosen, options) for site in sites}
    total, done = len(chosen) + sum(map(len, pools.values())), 0

    def effects(site: str, unit: int) -> Float[np.ndarray, " token"]:
        nonlocal done
        value = options.strength * scales[site] * (-1 if options.negative else 1)
        on = change("set", _branch(site, options.branch), unit, value=value)
        after = _log_p(subject, shown, [on])
        progress(done := done + 1, total)
        return (after - before) * (-1 if options.negative else 1)

    own = np.array([effects(key.site, key.index) for key in chosen])  # (neuron, token)
    value = own[np.arange(len(chosen)), tokens]
    if options.against == "neurons":
        of_site = {site: np.array([effects(site, unit) for unit in pool]) for site, pool in pools.items()}
        others = np.array([of_site[key.site][:, t] for key, t in zip(chosen, tokens, strict=True)])  # (neuron, draw)
    else:
        known = np.setdiff1d(np.arange(subject.n_answers), sorted(subject.special_answers))
        others = np.array([row[draw.choice(known, options.n_random)] for row in own])
    null = others.mean(0)
    return estimate_beside_null(
        float(value.mean()),
        mean_interval(value, seed=seed),
        len(value),
        "nats of log p",
        null,
        f"{len(null)} draws of other {options.against}",
        ceiling=float(np.maximum(value, others.max(1)).mean()),
    )


def _branch(site: str, branch: str) -> str:
    return site.removesuffix("act") + branch


def _choose(subject: Subject, descriptions: Descriptions, options: TokenEffectOptions) -> list[UnitKey]:
    """Return the neurons of highest peak; one a token, so that one token is not counted twice."""
    names = {site.path for site in subject.sites()}
    wrong = ""
    same_subject(subject, descriptions, what="descriptions", remedy="`describe(subject)` makes them.", by_name=False)
    if "peak" not in descriptions.measures or len(descriptions.vocabulary) != subject.n_answers:
        wrong = f"{len(descriptions.vocabulary):,} terms, measures {', '.join(descriptions.measures) or 'none'}"
    elif missing := [s for site in descriptions.index.sites if (s := _branch(site, options.branch)) not in names]:
        wrong = f"neurons without a site {missing[0]}"
    if wrong:
        raise PatchclampError(
            expected=f"descriptions of {subject.name} by its tokens, with the measure peak, and the branch it has",
            got=wrong,
            remedy="`describe(subject)` makes them; only gated MLPs have the branch up.",
        )
    chosen: dict[int, UnitKey] = {}
    for place in descriptions.order("peak"):
        term = int(descriptions.terms[place][0])
        if term >= 0 and term not in chosen:
            chosen[term] = descriptions.index.unit(int(place))
        if len(chosen) == options.n_units:
            break
    return list(chosen.values())


def _draw(
    draw: np.random.Generator,
    subject: Subject,
    site: str,
    chosen: Sequence[UnitKey],
    options: TokenEffectOptions,
) -> Int[np.ndarray, " draw"]:
    """Return random neurons of a site, others than the chosen ones; none where tokens are the null."""
    [n] = [one.width for one in subject.sites() if one.path == site]
    others = np.setdiff1d(np.arange(n), [key.index for key in chosen if key.site == site])
    drawn: np.ndarray = draw.choice(others, options.n_random if options.against == "neurons" else 0)
    return drawn


def _clean(
    subject: Subject, shown: list[Any], sites: Sequence[str], branch: str
) -> tuple[Float[np.ndarray, " token"], dict[str, float]]:
    """Return the mean log-probability of every token, and the 99th percentile of |activation| at each site."""
    recording = subject.run(shown, record=[_branch(site, branch) for site in sites], logits=False).recording
    rows = {site: recording[_branch(site, branch)].double().abs().cpu()[recording.counted].numpy() for site in sites}
    return _log_p(subject, shown, []), {site: float(np.quantile(x, 0.99)) for site, x in rows.items()}


def _log_p(subject: Subject, shown: list[Any], on: list[Intervention]) -> Float[np.ndarray, " token"]:
    """Return every token's log-probability, its mean over all positions of all cases."""
    sums: Any = 0.0
    count = 0
    for one in shown:
        logits = subject.run(one, interventions=on).logits[0].double()  # (position, token)
        sums = sums + torch.log_softmax(logits, -1).sum(0)
        count += len(logits)
    means: np.ndarray = (sums / count).cpu().numpy()
    return means


def _cost(sizes: Sizes, options: TokenEffectOptions) -> Cost:
    return Cost(forward=sizes.cases * (2 + options.n_units * (1 + options.n_random)))


METHOD = Method(
    token_effect,
    name="token_effect",
    room="evaluate",
    kind="benchmark",
    title="token effect of described neurons",
    question="Does clamping a neuron raise the token by which it is described?",
    papers=(Paper("2501.02688"),),
    keys=("unit",),
    cost=_cost,
    oracle="oracles.token_effect:token_effect",
    calibrated_on=("language-gpt2", "language-llama"),
    must_show="what GPT-2's neurons write raises their tokens more than random neurons of their sites do; in a gated "
    "MLP so does the branch up, once what is written takes the sign of the gate",
    must_miss={
        "language-llama:read": "the tokens of what neurons read move no more than under random neurons",
        "language-llama:gate": "nor do those of what their gates read",
    },
    options_at={"language-*": {"n_random": 19}, "language-llama*": {"branch": "up"}},
    sources=("evaluate/null.py",),
)
