"""Planted units and edges come first; an order of regions brings an answer back."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from patchclamp.calibrate.figures import Figure, chance_of, exact_figure, mean_of, null_of, share_of, top_of
from patchclamp.calibrate.planted import ranks
from patchclamp.calibrate.planted_edges import fold_strengths
from patchclamp.calibrate.trials import Trial
from patchclamp.calibrate.truth import PlantedEdges, PlantedUnits
from patchclamp.core.keys import EdgeIndex
from patchclamp.core.method_files import find_method
from patchclamp.core.scores import Scores

DRAWS = 1000


def measure(trial: Trial, noun: Scores) -> list[Figure]:
    """Return how well scores name what is planted, or order what is not."""
    truth = trial.truth
    if isinstance(truth, PlantedUnits):
        places = [noun.index.place(key) for key in truth.effects]
        return find_planted(np.abs(noun.values), places, trial.seed)
    if isinstance(truth, PlantedEdges):
        assert isinstance(noun.index, EdgeIndex)
        units = noun.index.units
        folds = [truth.fold(units[source], units[target]) for source, target in noun.index.ends.tolist()]
        names = list(dict.fromkeys(folds))
        each = noun.values[None] if noun.per_case is None else noun.per_case
        return find_planted(fold_strengths(each, folds, names), [names.index(edge) for edge in truth.edges], trial.seed)
    order = find_method("insertion_deletion", "evaluate", kind="benchmark")
    own = order(trial.inputs["subject"], trial.inputs["task"], noun, seed=trial.seed)
    return [Figure("order of regions", own, null_of(own), top_of(own))]


def find_planted(sizes: Float[np.ndarray, " part"], planted: Sequence[int], seed: int = 0) -> list[Figure]:
    """Return how many planted parts stand among as many highest, and how high they stand.

    Args:
        sizes: magnitude of every part's score.
        planted: places of the planted parts.
        seed: of the random orders.

    Returns:
        list[Figure]: each beside its random and its oracle row.
    """
    k, n, draw = len(planted), len(sizes), np.random.default_rng(seed)
    own = ranks(sizes)[list(planted)]
    by_chance = draw.hypergeometric(k, n - k, k, DRAWS) / k
    recovered = share_of(int((own <= k).sum()), k, "share of what is planted")
    # The share of the others that stand below a planted part: at random any share is as likely as any other.
    others = np.sort(np.delete(sizes, list(planted)))
    height = mean_of(np.searchsorted(others, sizes[list(planted)] - 1e-12) / len(others), "AUROC", seed)
    return [
        Figure(
            "planted among as many highest",
            recovered,
            chance_of(by_chance, recovered.unit),
            exact_figure(1.0, recovered),
            1.0,
        ),
        Figure(
            "planted above others",
            height,
            chance_of(draw.random((DRAWS, k)).mean(1), "AUROC"),
            exact_figure(1.0, height),
        ),
    ]
