"""Semi-NMF on planted groups: how many are recovered at which sparsity. The table in docs/results/features.md.

Twelve groups of eight neurons among 256, 3,000 tokens, noise 0.05; the data are those of tests/planted/test_snmf.py.
"""

import argparse

import numpy as np
from scipy.optimize import linear_sum_assignment

from patchclamp.decompose.snmf import SNMF

WIDTH, TOKENS, GROUPS, NEURONS, NOISE = 256, 3000, 12, 8, 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny settings: does it run? The numbers mean little")
    parser.add_argument("--seeds", type=int, default=8)
    options = parser.parse_args()
    seeds, most = (1, 20) if options.quick else (options.seeds, 1000)
    print("| p | codes | recovered | mean cos | error | groups by seed |\n|---|---|---|---|---|---|")
    for codes in ("sparse", "dense"):
        for sparsity in (NEURONS / WIDTH, 1.0, 0.1, 0.05, 0.02, 0.01):
            found = np.array([fitted(seed, codes, sparsity, most) for seed in range(seeds)])
            cosines, share, error = found.mean(axis=0)
            counts = " ".join(f"{GROUPS * one:.0f}" for one in found[:, 1])
            print(f"| {sparsity:.3f} | {codes} | {share:.1%} | {cosines:.2f} | {error:.2f} | {counts} |", flush=True)


def fitted(seed: int, codes: str, sparsity: float, most: int) -> tuple[float, float, float]:
    """Return the mean matched |cos|, the share of groups with at least 0.9, and ‖A − Z Y‖ / ‖A‖."""
    x, groups = planted(seed, codes)
    fit = SNMF(GROUPS, sparsity, max_iter=most, patience=300, seed=seed).fit(x)
    sizes = [np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in (groups, fit.components_)]
    cosines = np.abs((groups / sizes[0]) @ (fit.components_ / sizes[1]).T)
    best = cosines[linear_sum_assignment(-cosines)]
    return float(best.mean()), float((best >= 0.9).mean()), fit.reconstruction_err_ / float(np.linalg.norm(x))


def planted(seed: int, codes: str) -> tuple[np.ndarray, np.ndarray]:
    """Return activations and the groups in them; sparse codes are on in a fifth of the tokens, dense ones always."""
    rng = np.random.default_rng(seed)
    groups = np.zeros((GROUPS, WIDTH))
    for group in groups:
        group[rng.choice(WIDTH, NEURONS, replace=False)] = rng.normal(size=NEURONS)
    amounts = rng.exponential(size=(TOKENS, GROUPS))
    if codes == "sparse":
        amounts *= rng.random((TOKENS, GROUPS)) < 0.2
    return (amounts @ groups + NOISE * rng.normal(size=(TOKENS, WIDTH))).astype(np.float32), groups


if __name__ == "__main__":
    main()
