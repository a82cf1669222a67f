"""Non-negative least squares for many vectors at once: exact, in batches, differentiable."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from patchclamp.core.errors import PatchclampError

RIDGE = 1e-12
"""Added to the diagonal of D Dᵀ, in units of its largest entry."""
SLACK = 1e-10
"""By how much a row may miss its optimality conditions, in units of its largest |x · d|."""
GUESSES = 50
"""Projected gradient steps before pivoting."""
BATCH = 2**22
"""Numbers of the systems that are solved together."""


def nonnegative_least_squares(
    decoder: Float[Tensor, "unit width"], x: Float[Tensor, "n width"]
) -> Float[Tensor, "n unit"]:
    """Return argmin over f ≥ 0 of ‖x − f D‖² for every row, with its gradient.

    Which units P of a row are above zero is found without gradients; there f_P = x D_Pᵀ (D_P D_Pᵀ)⁻¹, so that
    df_P/dx = (D_P D_Pᵀ)⁻¹ D_P, and 0 off P. Autograd reads this off that one solve, to any order; D is a constant.

    Args:
        decoder: D, the directions. Where they depend on one another, many f are equally good: one of them is returned,
            and x̂ = f D is the same.
        x: the vectors; one with NaN or infinite numbers gives NaN.

    Returns:
        f in the dtype of x; computed in float64, where it differs from scipy's ``nnls`` by less than 1e-8 of the
        largest f for independent directions.

    Raises:
        PatchclampError: rounding keeps the search from ending, which no ordinary decoder does.

    Cost: some fifty products with D Dᵀ, then two to six solves of as many unknowns as a row has units above zero. Under
    autograd the factors of the last solve are kept: 8 |P|² bytes a row.

    Example:
        >>> nonnegative_least_squares(torch.eye(2), torch.tensor([[3.0, -1.0]])).tolist()
        [[3.0, 0.0]]
    """
    d, wide = decoder.detach().double(), x.double()
    gram, b = d @ d.T, wide @ d.T
    # The ridge picks one f where several are equally good; it also settles directions of length zero.
    largest = gram.diagonal().max().clamp(min=1e-300) if len(gram) else gram.sum()
    gram = gram + RIDGE * largest * torch.eye(len(gram)).to(gram)
    with torch.no_grad():
        passive = _passive(gram, b)
    f = _solved_on(gram, b, passive).clamp(min=0)
    return torch.where(wide.isfinite().all(1, keepdim=True), f, torch.nan).to(x.dtype)


def solver_bytes(n_rows: int, n_units: int, width: int) -> int:
    """Return what solving for the units of some rows holds at most.

    Args:
        n_rows: rows.
        n_units: directions.
        width: their width.

    Returns:
        int: bytes: rows in double precision beside what tells which are finite, some products with all directions, and
            two copies of the systems, where all units of a row are above zero.

    Example:
        >>> solver_bytes(1024, 64, 100) > solver_bytes(1024, 8, 100)
        True
    """
    systems = min(n_rows * n_units**2, max(BATCH, n_units**2))
    return 18 * n_rows * width + 40 * n_rows * n_units + 18 * systems


def _passive(gram: Float[Tensor, "unit unit"], b: Float[Tensor, "n unit"]) -> Bool[Tensor, "n unit"]:
    """Return which units of every row are above zero, by block principal pivoting.

    A row is done when f ≥ 0 on P and the gradient f M − b ≥ 0 off P. Until then the units that break this change
    sides: all at once, or, where that has not helped three times, only the last of them, which cannot cycle (Kim and
    Park 2011, SIAM J. Sci. Comput. 33, 3261-3281).
    """
    n, k = b.shape
    passive = _guess(gram, b)
    slack = SLACK * b.abs().amax(1, keepdim=True) if k else b
    fewest, chances = torch.full((n,), k + 1).to(b.device), torch.full((n,), 3).to(b.device)
    rows = torch.arange(n, device=b.device)
    for _ in range(1000 + 50 * k):
        p = passive[rows]
        f = _solved_on(gram, b[rows], p)
        wrong = torch.where(p, f < -slack[rows] / gram.diagonal(), f @ gram - b[rows] < -slack[rows])
        count = wrong.sum(1)
        unsettled = count > 0
        rows, wrong, count = rows[unsettled], wrong[unsettled], count[unsettled]
        if not len(rows):
            return passive
        better = count < fewest[rows]
        chances[rows] = torch.where(better, 3, chances[rows] - 1)
        fewest[rows] = torch.where(better, count, fewest[rows])
        last = k - 1 - wrong.flip(1).int().argmax(1)
        only = torch.zeros_like(wrong).scatter(1, last[:, None], True)
        passive[rows] ^= torch.where((chances[rows] < 0)[:, None], only, wrong)
    raise PatchclampError(
        expected="directions whose non-negative least squares can be solved",
        got=f"{len(rows)} of {n} vectors that did not settle",
        remedy="Some directions are almost the same: leave them out.",
    )


def _guess(gram: Float[Tensor, "unit unit"], b: Float[Tensor, "n unit"]) -> Bool[Tensor, "n unit"]:
    """Return which units are above zero after some accelerated projected gradient steps."""
    f = ahead = torch.zeros_like(b)
    if b.shape[1]:
        step = 1 / torch.linalg.eigvalsh(gram)[-1].clamp(min=1e-300)
        for i in range(GUESSES):
            new = (ahead - step * (ahead @ gram - b)).clamp(min=0)
            f, ahead = new, new + i / (i + 3) * (new - f)
    return f > 0


def _solved_on(
    gram: Float[Tensor, "unit unit"], b: Float[Tensor, "n unit"], passive: Bool[Tensor, "n unit"]
) -> Float[Tensor, "n unit"]:
    """Return b_P M_PP⁻¹ on each row's P, 0 elsewhere; rows with P of like size are solved together."""
    sizes = passive.sum(1)
    order = sizes.argsort(stable=True)
    parts: list[Tensor] = []
    start = 0
    while start < len(b):
        stop = min(len(b), start + 1024)
        while stop > start + 1 and (stop - start) * int(sizes[order[stop - 1]]) ** 2 > BATCH:
            stop = start + (stop - start) // 2
        rows = order[start:stop]
        parts.append(_solved_alike(gram, b[rows], passive[rows], int(sizes[rows[-1]])))
        start = stop
    return torch.cat(parts)[order.argsort()] if parts else torch.zeros_like(b)


def _solved_alike(
    gram: Float[Tensor, "unit unit"], b: Float[Tensor, "n unit"], passive: Bool[Tensor, "n unit"], most: int
) -> Float[Tensor, "n unit"]:
    """Solve rows with at most ``most`` units each; smaller systems are filled up with the identity."""
    chosen: Int[Tensor, "n most"] = passive.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    real = passive.gather(1, chosen)
    both = real[:, :, None] & real[:, None, :]
    system = torch.where(both, gram[chosen[:, :, None], chosen[:, None, :]], torch.eye(most).to(gram))
    right = torch.where(real, b.gather(1, chosen), 0.0)
    solved = torch.cholesky_solve(right[:, :, None], torch.linalg.cholesky(system))[:, :, 0]
    return torch.zeros_like(b).scatter(1, chosen, solved)
