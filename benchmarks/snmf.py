"""Semi-NMF: patchclamp's iteration against the same equations in plain NumPy, at equal dtype and threads.

Plain is written as the paper's equations read: whole matrices, the residual formed for the loss. Both keep the best
iterate. Seconds are the processor's, per iteration. Then what gathering the winners' neurons saves, the reason for
``snmf.GATHERED``, and the batch of non-negative least squares against scipy's, one vector at a time.
"""

import math
from collections.abc import Callable

import numpy as np
import timing
import torch
from torch.nn.functional import embedding_bag

from patchclamp.decompose.snmf import factorise
from patchclamp.subjects.nnls import nonnegative_least_squares

# tokens, width, features, sparsity, dtype
SETTINGS = [
    (8000, 512, 100, 0.03, "float32"),
    (8000, 512, 100, 1.0, "float32"),
    (8000, 2048, 100, 0.01, "float32"),
    (8000, 512, 100, 0.03, "float64"),
]


def main() -> None:
    parser = timing.parser(__doc__, rounds=5)
    parser.add_argument("--iterations", type=int, default=5)
    options = parser.parse_args()
    settings = [(600, 64, 10, p, dtype) for *_, p, dtype in SETTINGS] if options.quick else SETTINGS
    torch.set_num_threads(options.threads)
    print("NumPy has as many threads as OMP_NUM_THREADS and OPENBLAS_NUM_THREADS say: set them to --threads")
    measures, bars, rows = {}, [], []
    for n, width, k, sparsity, dtype in settings:
        rng = np.random.default_rng(0)
        x = rng.normal(size=(n, width)).clip(-0.2).astype(dtype)
        codes = rng.uniform(size=(n, k)).astype(dtype)
        a = np.ascontiguousarray(x.T)
        tasks: dict[str, Callable[[], float]] = {
            "plain": lambda a=a, codes=codes, p=sparsity: plain(a, codes.copy(), p, options.iterations),
            "patchclamp": lambda x=x, codes=codes, p=sparsity: min(
                factorise(torch.from_numpy(x), torch.from_numpy(codes), sparsity=p, max_iter=options.iterations).losses
            ),
        }
        losses = [task() for task in tasks.values()]
        spent = timing.alternate(tasks, options.rounds)
        ratio = timing.ratio(spent["plain"], spent["patchclamp"])
        each = [timing.median(s).cpu_s / options.iterations * 1000 for s in spent.values()]
        name = f"{n:,} x {width}, k {k}, p {sparsity:g}, {dtype}"
        rows.append(
            [name, *(f"{ms:.0f}" for ms in each), f"{ratio.cpu_s:.2f}", f"{abs(losses[1] / losses[0] - 1):.0e}"]
        )
        measures[name] = spent
        if sparsity < 0.125:  # Without gathering it is the same products in another library: shown, not promised.
            bars.append(timing.Bar(f"{name}: plain NumPy's time / ours, cpu", ratio.cpu_s, ">=", 1.0))
    timing.show(["", "plain ms", "patchclamp ms", "times faster", "losses differ by"], rows)
    gathering(options)
    least_squares(options)
    timing.report(options, measures, bars)


def plain(A: np.ndarray, G: np.ndarray, p: float, iterations: int) -> float:
    """The equations as they stand; returns the best loss."""
    m, eye = math.ceil(p * len(A)), 1e-6 * np.eye(G.shape[1], dtype=A.dtype)
    best = math.inf
    for _ in range(iterations):
        F = A @ G @ np.linalg.inv(G.T @ G + eye)
        size = np.abs(F)
        F *= size >= np.partition(size, -m, axis=0)[-m]
        length = np.linalg.norm(G, axis=0)
        G /= length
        F *= length
        P, Q = A.T @ F, F.T @ F
        up = np.maximum(P, 0) + G @ np.maximum(-Q, 0)
        down = np.maximum(-P, 0) + G @ np.maximum(Q, 0) + A.dtype.type(1e-6)
        G *= np.sqrt(up / down)
        loss = float(np.linalg.norm(A - F @ G.T) ** 2)
        if loss < best:
            best, _kept = loss, (F.copy(), G.copy())
    return best


def gathering(options: object) -> None:
    """Print how long FᵀA takes by gathering the rows that F keeps, against the dense product."""
    width, k = (64, 10) if options.quick else (2048, 100)
    a, f = torch.randn(width, 1024), torch.randn(k, width)
    rows = []
    for share in (0.01, 0.03, 0.125, 0.25):
        winners = f.abs().topk(math.ceil(share * width), dim=1).indices
        weights = f.gather(1, winners)
        spent = timing.alternate(
            {
                "dense": lambda: [f @ a for _ in range(20)],
                "gathered": lambda winners=winners, weights=weights: [
                    embedding_bag(winners, a, per_sample_weights=weights, mode="sum") for _ in range(20)
                ],
            },
            options.rounds + 1,
        )
        rows.append([f"{share:g}", f"{timing.ratio(spent['dense'], spent['gathered']).cpu_s:.1f}"])
    print()
    timing.show(["share kept", "gathering is faster by"], rows)


def least_squares(options: object) -> None:
    """Print vectors per second of non-negative least squares."""
    from scipy.optimize import nnls

    k, width, n = (8, 32, 20) if options.quick else (100, 512, 500)
    rng = np.random.default_rng(0)
    d, x = rng.normal(size=(k, width)), rng.normal(size=(n, width))
    few = x[: n // 10]
    spent = timing.alternate(
        {
            "ours": lambda: nonnegative_least_squares(torch.from_numpy(d), torch.from_numpy(x)),
            "scipy": lambda: [nnls(d.T, row) for row in few],
        },
        options.rounds,
    )
    ratio = timing.ratio(spent["scipy"], spent["ours"]).cpu_s * 10
    print(f"\nnon-negative least squares, {k} directions of width {width}: {ratio:.1f} times as fast as scipy's nnls")


if __name__ == "__main__":
    main()
