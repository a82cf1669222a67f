"""Match the directions of two dictionaries one to one, by cosine."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from patchclamp.core.arguments import checked
from patchclamp.core.basis import Basis
from patchclamp.core.errors import PatchclampError
from patchclamp.core.stats import Interval, mean_interval

LARGEST = 2**27
"""Pairs that are compared at most: a gigabyte of cosines."""
FOUND = 0.9
"""Cosine from which on a direction counts as the same."""


@checked
@dataclass(frozen=True)
class Comparison:
    """Hold how alike two sets of directions are, beside the second set turned at random.

    Args:
        n: pairs matched: as many as the smaller set has.
        cosine: mean |cos| of the pairs.
        interval: its 95 % interval, pairs resampled.
        same: share of the pairs with |cos| ≥ 0.9.
        control: the mean |cos| of each random turn.
        control_same: share of pairs with |cos| ≥ 0.9 over all turns.
    """

    n: int
    cosine: float
    interval: Interval
    same: float
    control: tuple[float, ...]
    control_same: float


@checked
def match(
    a: Float[np.ndarray, "n width"], b: Float[np.ndarray, "m other"]
) -> tuple[Int[np.ndarray, " pair"], Int[np.ndarray, " pair"], Float[np.ndarray, " pair"]]:
    """Pair the rows of two sets so that Σ |cos| is largest (the assignment problem; Kuhn 1955, "Hungarian").

    Args:
        a: one set.
        b: the other; the larger set keeps rows without a partner. A row of zeros has cosine 0 with everything.

    Returns:
        tuple: rows of a, rows of b, and |cos| of each pair.

    Raises:
        PatchclampError: other widths, too many pairs for memory, or scipy is not installed.

    Cost: n · m cosines in memory, and cubic time at worst.

    Example:
        >>> rows, partners, cosines = match(np.eye(3), -2 * np.eye(3)[[2, 0, 1]])
        >>> partners.tolist(), cosines.tolist()
        ([1, 2, 0], [1.0, 1.0, 1.0])
    """
    if a.shape[1] != b.shape[1] or not len(a) or not len(b):
        raise PatchclampError(
            expected="two sets of directions of one width",
            got=f"{a.shape[0]} of width {a.shape[1]}, {b.shape[0]} of width {b.shape[1]}",
            remedy="Compare bases of one site.",
        )
    if len(a) * len(b) > LARGEST:
        raise PatchclampError(
            expected=f"at most {LARGEST:,} pairs of directions",
            got=f"{len(a):,} times {len(b):,}",
            remedy="Compare smaller dictionaries, or slices of their decoders in Python.",
        )
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as problem:
        raise PatchclampError(
            expected="scipy, which solves the assignment",
            got="it is not installed",
            remedy="pip install 'patchclamp[science]'",
        ) from problem
    cosines = np.abs(_unit(a) @ _unit(b).T)
    rows, columns = linear_sum_assignment(cosines, maximize=True)
    return rows, columns, np.minimum(cosines[rows, columns], 1.0).astype(np.float64)


@checked
def recovery(
    found: Float[np.ndarray, "n width"], planted: Float[np.ndarray, "m width"], *, least: float = FOUND
) -> tuple[float, float]:
    """Return the share of planted directions that a set recovers (|cos| ≥ ``least``, one to one), and the mean |cos|.

    A planted direction without a partner counts as not found, with cosine 0.

    Args:
        found: ``(n, width)`` directions of the set.
        planted: ``(m, width)`` true directions.
        least: cosine from which a direction counts as recovered.

    Returns:
        tuple: the share, and the mean |cos|.

    Source: mean maximum cosine similarity of Sharkey et al. (2022), Taking features out of superposition with sparse
    autoencoders; one to one is ours.

    Example:
        >>> recovery(np.eye(4)[:2], np.eye(4))
        (0.5, 0.5)
    """
    _, _, cosines = match(found, planted)
    return float((cosines >= least).sum() / len(planted)), float(cosines.sum() / len(planted))


@checked
def compare_bases(one: Basis, other: Basis, *, seed: int = 0, turns: int = 5) -> Comparison:
    """Match the directions that two bases write, beside the second basis turned at random.

    The control turns the whole second set by a random rotation (QR of a Gaussian matrix): its angles within stay, what
    it has to do with the first is lost. So the control says what cosine that many directions reach by chance.

    Args:
        one: a basis of directions.
        other: another of the same width.
        seed: of the turns and of the interval.
        turns: how many random turns.

    Returns:
        Comparison: cosines of matched pairs with interval, beside those of random turns.

    Raises:
        PatchclampError: neurons or heads, other widths, or too many directions.

    Source: matching as in 2501.16615; the random turns are ours.

    Cost: ``turns`` + 1 assignments.

    Example:
        >>> eye = Basis("a", "directions", decoder=np.eye(4, dtype=np.float32))
        >>> compare_bases(eye, eye, turns=1).same
        1.0
    """
    if one.decoder is None or other.decoder is None:
        raise PatchclampError(
            expected="bases of directions", got=f"{one.kind} and {other.kind}", remedy="Compare dictionaries."
        )
    a, b = one.decoder.astype(np.float64), other.decoder.astype(np.float64)
    _, _, cosines = match(a, b)
    rng = np.random.default_rng(seed)
    turned = []
    for _ in range(turns):
        q, r = np.linalg.qr(rng.normal(size=(b.shape[1], b.shape[1])))
        # The signs make the rotation uniform; QR alone prefers some.
        turned.append(match(a, b @ (q * np.sign(np.diag(r))))[2])
    return Comparison(
        len(cosines),
        float(cosines.mean()),
        mean_interval(cosines, seed=seed),
        float((cosines >= FOUND).mean()),
        tuple(float(c.mean()) for c in turned),
        float((np.array(turned) >= FOUND).mean()),
    )


def _unit(rows: np.ndarray) -> np.ndarray:
    sizes = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(sizes > 0, sizes, 1)
