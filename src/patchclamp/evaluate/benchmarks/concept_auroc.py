"""Measure whether a basis has a unit for every concept, by AUROC."""

from dataclasses import dataclass

import numpy as np

from patchclamp.core.basis import Basis
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.options import option
from patchclamp.core.recording import Recording
from patchclamp.core.stats import mean_interval
from patchclamp.core.subject import Progress
from patchclamp.evaluate.concept_units import find_concept_units
from patchclamp.evaluate.null import estimate_beside_null
from patchclamp.evaluate.rows import codes_of, counted_rows, turn_basis


@dataclass(frozen=True)
class ConceptAUROCOptions:
    """Options of the concept AUROC."""

    n_random: int = option(19, "random rotations of the basis", least=19, most=1000)


def concept_auroc(
    recording: Recording,
    basis: Basis,
    concepts: Recording,
    options: ConceptAUROCOptions,
    *,
    seed: int = 0,
    progress: Progress,
) -> Estimate:
    r"""Measure how well the best unit of a basis detects each concept, on stimuli that it was not chosen on.

    mean over concepts c of P(f_u > f'_u), f_u where c is true and f'_u where it is not, ties counted half, u the unit
    for which that is largest on stimuli of even number; it is measured on those of odd number.

    The null is that of the same basis turned at random; the ceiling is 1.

    Args:
        recording: of the site that the basis reads, rows × width.
        basis: units × width.
        concepts: of the same stimuli: rows × concepts, above zero where the concept is true.
        options: random rotations.
        seed: of the rotations and of the interval.
        progress: called with bases done and in all.

    Returns:
        Estimate: a mean AUROC; the interval resamples concepts.

    Raises:
        PatchclampError: recordings of other rows, or no concept that is true and untrue 20 times in either half.

    Source: 2406.04093, section 4.2, whose probes of single latents are logistic. Departs from it in the AUROC of the
    latent itself, and in choosing and measuring on other stimuli; the null is ours.

    Cost: a rank of every unit's values for 1 + n_random bases.
    """
    x, owner = counted_rows(recording, basis.reads or basis.site or "")
    labels, others = counted_rows(concepts, "")
    if not np.array_equal(owner, others):
        raise PatchclampError(
            expected="concepts of the rows of the recording",
            got=f"{len(labels)} rows for {len(x)}",
            remedy="Give both of the same stimuli in the same order.",
        )
    names, draw = [str(i) for i in range(labels.shape[1])], np.random.default_rng(seed)

    def areas(one: Basis, number: int) -> np.ndarray:
        units = find_concept_units([("f", codes_of(one, x))], labels > 0, names, owner, resamples=1)
        progress(number, 1 + options.n_random)
        return np.array([found.auroc.value for found in units.values()])

    own = areas(basis, 1)
    if not len(own):
        raise PatchclampError(
            expected="a concept that is true and untrue 20 times in either half",
            got=f"none of {len(names)}",
            remedy="Give more stimuli.",
        )
    null = np.array([areas(turn_basis(basis, draw), 2 + i).mean() for i in range(options.n_random)])
    return estimate_beside_null(
        float(own.mean()),
        mean_interval(own, seed=seed) if len(own) > 1 else None,
        len(own),
        "mean AUROC",
        null,
        f"{options.n_random} random rotations",
    )


def _cost(sizes: Sizes, options: ConceptAUROCOptions) -> Cost:
    return Cost(bytes=8 * sizes.rows * sizes.units)


METHOD = Method(
    concept_auroc,
    name="concept_auroc",
    room="evaluate",
    kind="benchmark",
    title="AUROC of the best unit for each concept",
    question="Does a basis have a unit for every concept?",
    papers=(Paper("2406.04093", equation="section 4.2"),),
    keys=("unit",),
    cost=_cost,
    oracle="oracles.bases:concept_auroc",
    calibrated_on=("superposition",),
    must_show="a trained coder's best units tell planted features better than those of the same one turned at random",
    must_miss={"superposition:noise": "activity without features has no unit for any"},
    sources=("evaluate/null.py", "evaluate/rows.py", "evaluate/concept_units.py"),
)
