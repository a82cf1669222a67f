"""Measure whether an order of an image's regions removes the answer, and restores it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from jaxtyping import Bool, Float, Int

from patchclamp.ablate import Cases, RegionSets, measure_sets
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate
from patchclamp.core.keys import UnitIndex
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.metric import Metric
from patchclamp.core.options import option
from patchclamp.core.regions import Fill, basis_name, grid_regions, order_curve
from patchclamp.core.scores import Scores
from patchclamp.core.stats import mean_interval
from patchclamp.core.subject import Progress
from patchclamp.core.task import Task
from patchclamp.evaluate.null import estimate_beside_null
from patchclamp.subjects.protocols import Classifies, Intervenes, Reads

GREEDY = "greedy order"
"""The rival, by its name."""


class Subject(Classifies, Reads, Intervenes, Protocol):
    """What the benchmark needs."""


@dataclass(frozen=True)
class InsertionDeletionOptions:
    """Options of insertion and deletion."""

    curve: Literal["both", "insertion", "deletion"] = option("both", "which area; both is insertion − deletion")
    fill: Fill = option("zero", "what stands in the place of a region")
    n_random: int = option(20, "random orders of every image", least=19, most=1000)


def insertion_deletion(
    subject: Subject,
    task: Task,
    scores: Scores,
    options: InsertionDeletionOptions,
    *,
    seed: int = 0,
    progress: Progress,
) -> Estimate:
    r"""Measure how soon the answer comes back, and goes, when regions are inserted or deleted in the order of scores.

    insertion = ∫ p(answer | the first regions shown, all others filled), deletion = ∫ p(answer | the first regions
    filled), both over the share of pixels, by trapezoids; the value is their difference, its mean over images.

    The null is that of random orders. A greedy order stands beside as a rival: at each step it takes the region that
    moves p most, and so sees what no attribution sees. It is no ceiling, for another order may still do better.

    Args:
        subject: a network that answers with classes.
        task: images, each with its answer.
        scores: of the regions of each (``per_case``).
        options: which area, filling, random orders.
        seed: of the random orders and of the interval.
        progress: called with images done and in all.

    Returns:
        Estimate: the interval resamples images.

    Raises:
        PatchclampError: scores that are not of the regions of these images.

    Source: Petsiuk, Das & Saenko (2018), 1806.07421, section 3. Departs from it in regions for pixels.

    Cost: per image (2 + 2 · n_random) · regions forward passes, and regions² for the greedy order.
    """
    read = subject.read(task, least=None)
    pictures = read.pictures
    blocks = scores.index.blocks if isinstance(scores.index, UnitIndex) else ()
    size = next((int(one.basis[5:]) for one in blocks if one.basis[:5] == "grid-" and one.basis[5:].isdigit()), 0)
    if scores.per_case is None or len(scores.per_case) != len(pictures) or not size:
        raise PatchclampError(
            expected=f"scores of the regions of {len(pictures)} images, each by itself",
            got=f"{len(scores)} keys such as {scores.index[0]}",
            remedy=f"Score the same task by a method whose keys are regions ({basis_name(2)}).",
        )
    draw = np.random.default_rng(seed)
    own, random, best = [], [], []
    for i, picture in enumerate(pictures):
        cases = Cases([picture], [Metric("log_probability", (subject.class_index(read.task.cases[i].targets[0]),))])
        regions = grid_regions(picture, size)
        shares = np.bincount(regions.ravel()) / regions.size

        def answer(removed: Bool[np.ndarray, "image region"]) -> Float[np.ndarray, " image"]:
            [values] = measure_sets(subject, cases, RegionSets(size, removed), options.fill)  # noqa: B023  called within this round only
            probabilities: np.ndarray = np.exp(values)
            return probabilities

        orders = [np.argsort(-scores.per_case[i], kind="stable")]
        orders += [draw.permutation(len(shares)) for _ in range(options.n_random)]
        areas = _areas(answer, np.stack(orders), shares, options.curve)
        own.append(float(areas[0]))
        random.append(areas[1:])
        best.append(_best(answer, shares, options.curve))
        progress(i + 1, len(pictures))
    value, null = float(np.mean(own)), np.mean(random, axis=0)
    return estimate_beside_null(
        value,
        mean_interval(np.array(own), seed=seed) if len(own) > 1 else None,
        len(own),
        {"both": "insertion − deletion area"}.get(options.curve, f"{options.curve} area"),
        null,
        f"{options.n_random} random orders",
        ceiling=None,
        rivals={GREEDY: float(np.mean(best))},
        lower=options.curve == "deletion",
    )


Answer = Callable[[Bool[np.ndarray, "image region"]], Float[np.ndarray, " image"]]


def _areas(
    answer: Answer, orders: Int[np.ndarray, "order region"], shares: Float[np.ndarray, " region"], curve: str
) -> Float[np.ndarray, " order"]:
    """Return the area under the curve of each order, or the difference of both; all orders in one call."""
    curves = {}
    for name in ("insertion", "deletion"):
        if curve in (name, "both"):
            removed = [order_curve(len(shares), order.tolist(), insert=name == "insertion") for order in orders]
            p = answer(np.concatenate(removed)).reshape(len(orders), -1)
            curves[name] = ((p[:, 1:] + p[:, :-1]) / 2 * shares[orders]).sum(1)
    area: np.ndarray = curves["insertion"] - curves["deletion"] if curve == "both" else curves[curve]
    return area


def _best(answer: Answer, shares: Float[np.ndarray, " region"], curve: str) -> float:
    """Return the area of greedy orders, one for each curve."""
    areas = {}
    for name in ("insertion", "deletion"):
        if curve not in (name, "both"):
            continue
        insert = name == "insertion"
        order: list[int] = []
        while len(order) < len(shares):
            rest = [r for r in range(len(shares)) if r not in order]
            removed = np.full((len(rest), len(shares)), insert)
            removed[:, order] = not insert
            removed[np.arange(len(rest)), rest] = not insert
            p = answer(removed)
            order.append(rest[int(np.argmax(p) if insert else np.argmin(p))])
        areas[name] = float(_areas(answer, np.array([order]), shares, name)[0])
    return areas["insertion"] - areas["deletion"] if curve == "both" else areas[curve]


def _cost(sizes: Sizes, options: InsertionDeletionOptions) -> Cost:
    per_image = 2 * (1 + options.n_random) * (sizes.units + 1) + (sizes.units + 3) * (sizes.units + 1)
    return Cost(forward=sizes.cases * per_image)


METHOD = Method(
    insertion_deletion,
    name="insertion_deletion",
    room="evaluate",
    kind="benchmark",
    title="insertion and deletion",
    question="Does the order of regions take the answer away and bring it back?",
    papers=(Paper("1806.07421", equation="section 3"),),
    keys=("region",),
    cost=_cost,
    oracle="oracles.insertion_deletion:insertion_deletion",
    calibrated_on=("digits-vit", "digits-cnn"),
    must_show="occlusion lies above random orders, about as high as a greedy order",
    sources=("evaluate/null.py",),
)
