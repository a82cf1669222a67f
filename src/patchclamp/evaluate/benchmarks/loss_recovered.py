"""Measure how much of a network's prediction remains with a basis' reconstruction at a site."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float

from patchclamp.core.basis import Basis
from patchclamp.core.corpus import Corpus
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.options import option
from patchclamp.core.stats import bootstrap_interval
from patchclamp.core.subject import Progress
from patchclamp.evaluate.dictionary_metrics import Losses, from_first_counted, sample_rows
from patchclamp.evaluate.null import estimate_beside_null
from patchclamp.evaluate.rows import refuse_further, turn_basis
from patchclamp.evaluate.substitution import clamp_site, substitute_reconstruction
from patchclamp.subjects.corpora import read_corpus
from patchclamp.subjects.protocols import Generates, Intervenes

FEWEST = 4


class Subject(Intervenes, Generates, Protocol):
    """What the benchmark needs."""


@dataclass(frozen=True)
class LossRecoveredOptions:
    """Options of the loss recovered."""

    n_random: int = option(19, "random rotations of the basis", least=19, most=1000)
    batch_size: int = option(8, "stimuli per forward pass", least=1)


def loss_recovered(
    subject: Subject, corpus: Corpus, basis: Basis, options: LossRecoveredOptions, *, seed: int = 0, progress: Progress
) -> Estimate:
    r"""Measure what of the cross-entropy a basis recovers in the place of its site.

    (CE(x̄) − CE(x̂)) / (CE(x̄) − CE(x)), CE the cross-entropy in nats per counted token with the site at its mean, at what
    the basis writes, and as it is. Stimuli of even number fit x̄, those of odd number are judged.

    The null is that of the same basis turned at random; the ceiling is 1.

    Args:
        subject: the language model that the basis was made on.
        corpus: text that it was not made on.
        basis: with its site; units × width.
        options: random rotations, batches.
        seed: of the rotations and of the interval.
        progress: called with variants done and in all.

    Returns:
        Estimate: a share of the loss; the interval resamples stimuli.

    Raises:
        PatchclampError: a basis without a site, fewer than 4 stimuli, a site at whose mean nothing is lost.

    Source: 2404.16014, section 4 (loss recovered), whose floor is the site at zero. Departs from it in the mean for
    zero, and in the null.

    Cost: 3 + n_random forward passes over half the corpus, one over the other half.
    """
    refuse_further(basis)
    shown: list[Any] = [one for batch in read_corpus(subject, corpus, batch_size=options.batch_size) for one in batch]
    if basis.site is None or len(shown) < FEWEST:
        raise PatchclampError(
            expected=f"a basis with its site, and at least {FEWEST} stimuli",
            got=f"{'none' if basis.site is None else basis.site}, {len(shown)} stimuli",
            remedy="decompose(…).single() keeps the site; give a longer text.",
        )
    site, judged = basis.site, shown[1::2]
    mean = sample_rows(subject, shown[::2], [site], options.batch_size)[site].mean(0)
    losses, draw = Losses(len(judged)), np.random.default_rng(seed)
    turned = [turn_basis(basis, draw) for _ in range(options.n_random)]
    variants: dict[str, Callable[..., Any]] = {
        "": lambda **_at: [],
        "mean": partial(clamp_site, site, mean),
        "own": partial(substitute_reconstruction, site, basis),
        **{str(i): partial(substitute_reconstruction, site, one) for i, one in enumerate(turned)},
    }
    for done, (name, change) in enumerate(variants.items(), start=1):
        for first in range(0, len(judged), options.batch_size):
            batch = judged[first : first + options.batch_size]
            run = subject.run(batch, interventions=change(at=from_first_counted(batch)), logits=True)
            losses.add(name, first, run.logits, batch)
        progress(done, len(variants))

    def share(rows: Float[np.ndarray, "stimulus 3"]) -> float:
        floor, said, clean = rows.sum(0)
        return float((floor - said) / (floor - clean)) if floor > clean else float("nan")

    def columns(name: str) -> Float[np.ndarray, "stimulus 3"]:
        return np.stack([losses.sums["mean"], losses.sums[name], losses.sums[""]], 1)

    value = share(columns("own"))
    if not np.isfinite(value):
        raise PatchclampError(
            expected="a site at whose mean the prediction is worse", got=site, remedy="Choose another, or more text."
        )
    null = np.array([share(columns(str(i))) for i in range(options.n_random)])
    interval = bootstrap_interval(columns("own"), share, n_resamples=500, seed=seed)
    return estimate_beside_null(
        value, interval, len(judged), "share recovered", null, f"{options.n_random} random rotations"
    )


def _cost(sizes: Sizes, options: LossRecoveredOptions) -> Cost:
    return Cost(forward=sizes.rows * (4 + options.n_random) // 2)


METHOD = Method(
    loss_recovered,
    name="loss_recovered",
    room="evaluate",
    kind="benchmark",
    title="cross-entropy recovered",
    question="Does the network still predict when a basis writes in the place of a site?",
    papers=(Paper("2404.16014", equation="section 4"),),
    keys=("unit",),
    cost=_cost,
    oracle="oracles.bases:loss_recovered",
    calibrated_on=("language-gpt2",),
    must_show="a trained coder recovers more than the same one turned at random",
    sources=("evaluate/null.py", "evaluate/rows.py", "evaluate/dictionary_metrics.py", "evaluate/substitution.py"),
)
