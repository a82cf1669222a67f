"""A recording of trials whose truth is planted, with units of every flaw."""

import numpy as np

from patchclamp.subjects.neural import NeuralRecording

HOSTILE = "<img src=x onerror=alert(1)>"
N_TRIALS, N_SAMPLES, N_UNITS, RATE = 60, 90, 8, 50.0
TUNED, DECOY, TWIN, MISSING, CONSTANT, EMPTY, PLACE = 1, 2, 3, 4, 5, 6, 7


def planted_trials() -> NeuralRecording:
    """Return trials of two sides: one unit fires more on the left, a decoy whatever happens, others have flaws."""
    draw = np.random.default_rng(4)
    side = draw.permutation(np.repeat(["left", "right"], N_TRIALS // 2))
    rate = np.full((N_TRIALS, N_SAMPLES, N_UNITS), 0.1)
    rate[side == "left", 30:60, TUNED] = 0.6
    position = np.tile(np.linspace(0, 100, N_SAMPLES), (N_TRIALS, 1))
    rate[:, 70:, PLACE] = 0.8
    values = draw.poisson(rate).astype(float)
    values[..., TWIN] = values[..., TUNED] + (draw.random((N_TRIALS, N_SAMPLES)) < 0.02)
    values[:, ::3, MISSING] = np.nan
    values[..., CONSTANT], values[..., EMPTY] = 3.0, np.nan
    return NeuralRecording(
        values,
        name="planted",
        rate=RATE,
        start=-0.5,
        measure="counts",
        names=(HOSTILE, *(f"cell {unit}" for unit in range(1, N_UNITS))),
        groups={"pair": (TUNED, TWIN), "rest": (0, DECOY)},
        unit_labels={"x": np.arange(N_UNITS) * 10.0, "y": np.arange(N_UNITS)[::-1] * 5.0, "depth": np.arange(N_UNITS)},
        trial_labels={"side": side},
        time_labels={"position": position},
    )
