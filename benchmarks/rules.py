"""Rules: how many units a second one core describes, beside a loop that only looks at each of their tokens once.

Each unit has 40 windows of 32 tokens in which it fires, on one to five tokens of its own, and 40 in which it does not.
The tokens are drawn by Zipf's law from a vocabulary of 4,096 words.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import timing

UNITS, WINDOWS, LENGTH, WORDS = 400, 40, 32, 4096


class Names:
    """A subject that only names its tokens."""

    name, hash, capabilities = "words", "0" * 64, None

    def answer_name(self, index: int) -> str:
        """Return a made-up word for every number."""
        syllables = ("ba", "ke", "li", "mo", "nu", "ra", "se", "ti")
        return " " + "".join(syllables[index // 8**i % 8] for i in range(4))


def main() -> None:
    options = timing.parser(__doc__, rounds=3).parse_args()
    n_units, rounds = (20, 1) if options.quick else (UNITS, options.rounds)
    exemplars = make_exemplars(n_units)
    spent = timing.alternate(
        {"rule": lambda: describe(exemplars), "bare loop over tokens": lambda: look(exemplars)}, rounds
    )
    middle = {name: timing.median(those) for name, those in spent.items()}
    ratio = timing.ratio(spent["rule"], spent["bare loop over tokens"])
    timing.show(
        [f"{n_units} units, {2 * WINDOWS} windows of {LENGTH} tokens each", "cpu s", "units per second and core"],
        [[name, f"{one.cpu_s:.2f}", f"{n_units / one.cpu_s:.0f}"] for name, one in middle.items()],
    )
    bars = [
        timing.Bar("units per second and core", n_units / middle["rule"].cpu_s, ">=", 200),
        timing.Bar("rule / bare loop over tokens, cpu", ratio.cpu_s, "<=", 20),
    ]
    timing.report(options, middle, bars)


def make_exemplars(n_units: int) -> Any:
    """Return windows in which each unit fires on tokens of its own, and windows without them."""
    from patchclamp.core.exemplars import KINDS, Exemplars
    from patchclamp.core.site import Site
    from patchclamp.core.stimulus import Stimulus

    rng = np.random.default_rng(0)
    chances = 1 / np.arange(1, WORDS + 1)
    texts = rng.choice(WORDS, (n_units * 2 * WINDOWS, LENGTH), p=chances / chances.sum())
    activations = np.zeros(texts.shape, dtype=np.float32)
    for unit in range(n_units):
        own = rng.choice(WORDS, rng.integers(1, 6), replace=False)
        for row in range(2 * WINDOWS * unit, 2 * WINDOWS * (unit + 1)):
            foreign = np.isin(texts[row], own)
            texts[row][foreign] = (texts[row][foreign] + 1) % WORDS
            if row % 2:
                places = rng.choice(LENGTH, 2, replace=False)
                texts[row][places] = rng.choice(own, 2)
                activations[row][places] = 1 + rng.random(2)
    made = Exemplars.of(
        Site("blocks.0.mlp.act", "mlp.act", n_units),
        [Stimulus.of(row) for row in texts.astype(np.int64)],
        unit=np.repeat(np.arange(n_units), 2 * WINDOWS).tolist(),
        value=activations.max(1).tolist(),
        position=activations.argmax(1).tolist(),
        activations=list(activations),
    )
    kinds = np.where(made.value > 0, KINDS.index("random"), KINDS.index("silent"))
    return replace(made, kind=kinds.astype(np.int8))


def describe(exemplars: Any) -> Any:
    """Mine the rules."""
    from patchclamp.describe.methods.rule import METHOD

    return METHOD(Names(), exemplars)


def look(exemplars: Any) -> dict[int, dict[int, int]]:
    """Count by hand on how many active tokens of each unit every word stands."""
    found: dict[int, dict[int, int]] = {}
    for row in range(len(exemplars)):
        counts = found.setdefault(int(exemplars.unit[row]), {})
        ids = exemplars.stimuli[int(exemplars.stimulus[row])].ids.tolist()
        for id, value in zip(ids, exemplars.row_activations(row).tolist(), strict=True):
            counts[id] = counts.get(id, 0) + (value > 0)
    return found


if __name__ == "__main__":
    main()
