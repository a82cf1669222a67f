"""Channels that tell four classes apart with a known Bayes accuracy, beside mute and drifting ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from patchclamp.core.arguments import Natural, Positive, checked
from patchclamp.core.recording import Recording
from patchclamp.core.site import Site
from patchclamp.core.split import Split
from patchclamp.core.stimulus import Stimulus
from patchclamp.core.task import Case, Task

CLASSES = ("face", "house", "tool", "word")
N_READERS, N_MUTE, N_DRIFTING = 12, 8, 6
DRIFTING_ALONE = 40
"""Drifting channels of the variant that has no others."""
SLOWNESS = 0.98
"""Correlation of a drifting channel with itself one row later."""


@checked
@dataclass(frozen=True, eq=False)
class ClassesBrain:
    """Hold a planted brain whose rows each show one of four classes.

    Args:
        recording: a row per trial.
        labels: the class of each; trials of one class stand together in runs, as in a block design.
        blocks: a split in which every fold is a block that shows every class.
        means: ``(class, channel)`` what a class adds; 0 in channels that read nothing.
        bayes: the largest accuracy of any decoder of single rows.
        kinds: ``(channel,)`` ``reader``, ``mute`` or ``drifting``.
    """

    recording: Recording
    labels: Task
    blocks: Split
    means: Float[np.ndarray, "class channel"]
    bayes: float
    kinds: tuple[str, ...]

    @property
    def readable(self) -> tuple[bool, ...]:
        """Which classes can be decoded: all of them."""
        return (True,) * len(CLASSES)

    @property
    def signal(self) -> Float[np.ndarray, "row class"]:
        """The log-odds of every class, up to a constant, for who knows the means and that the noise is white."""
        x = self.recording["channels"]
        signal: np.ndarray = x @ self.means.T - (self.means**2).sum(1) / 2
        return signal

    def inputs(self, takes: Mapping[str, str]) -> dict[str, Any] | None:
        """Return what a method takes by the names of its parameters; None where it takes something else.

        Args:
            takes: parameter → noun, as ``Method.takes`` gives it.
        """
        nouns = {"Recording": self.recording, "Task": self.labels, "Split": self.blocks}
        taken = [noun.rstrip("?") for noun in takes.values()]
        if "Task" not in taken or set(taken) - set(nouns) or taken.count("Recording") > 1:
            return None
        return {name: nouns[noun] for name, noun in zip(takes, taken, strict=True)}


def make(
    *,
    variant: Literal["", "drift", "mute"] = "",
    n_blocks: Positive = 6,
    runs: Positive = 4,
    run: Positive = 6,
    strength: float = 2.0,
    seed: Natural = 0,
) -> ClassesBrain:
    """Make the organism: in every block runs of each class, in random order.

    Means are ``strength`` times orthonormal vectors and noise is white, so that the Bayes accuracy is
    ∫ φ(z − strength) Φ(z)³ dz for four classes. Drifting channels are slow and read nothing. A random split has rows of
    every run on both sides, and the drift of that moment with them: labels can then be "read" where there are none.

    Args:
        variant: ``drift`` of drifting channels alone, many of them, and a class' runs in a block joined; ``mute`` of
            white noise alone; empty for all kinds.
        n_blocks: folds.
        runs: of each class in a block.
        run: trials of one class in a row.
        strength: length of every mean, in standard deviations of the noise.
        seed: of everything random.

    Returns:
        ClassesBrain: recording, labels, split and the truth.

    Cost: milliseconds.

    Example:
        >>> brain = make()
        >>> brain.recording["channels"].shape, round(brain.bayes, 3), round(make(variant="mute").bayes, 3)
        ((576, 26), 0.823, 0.25)
    """
    draw = np.random.default_rng(seed)
    n_classes = len(CLASSES)
    if variant == "drift":
        runs, run = 1, runs * run
    order = np.concatenate([np.repeat(draw.permutation(n_classes), run) for _ in range(n_blocks * runs)])
    n_drifting = DRIFTING_ALONE if variant == "drift" else N_DRIFTING
    n, width = len(order), N_READERS + N_MUTE + n_drifting
    turned = np.linalg.qr(draw.standard_normal((N_READERS, n_classes)))[0].T  # (class, reader), orthonormal
    means = np.zeros((n_classes, width))
    means[:, :N_READERS] = strength * turned
    x = draw.standard_normal((n, width)) + means[order]
    x[:, N_READERS + N_MUTE :] = _drift(n, n_drifting, draw)
    kinds = np.array(("reader",) * N_READERS + ("mute",) * N_MUTE + ("drifting",) * n_drifting)
    if variant:
        kept = kinds == ("drifting" if variant == "drift" else "mute")
        x, means, kinds, strength = x[:, kept], means[:, kept], kinds[kept], 0.0
    stimuli = tuple(Stimulus.of(np.array([i])) for i in range(n))
    labels = Task(tuple(Case((i,), label=CLASSES[c]) for i, c in enumerate(order.tolist())), name="classes")
    site = Site("channels", "channels", x.shape[1])
    return ClassesBrain(
        Recording(stimuli, {"channels": x}, {"channels": site}, {"subject": {"slug": "brain-classes"}}),
        labels,
        Split.blocks(n, folds=n_blocks, gap=0),
        # In the order in which the labels occur, which is that of a decoder's classes.
        means[[CLASSES.index(name) for name in labels.labels]],
        _bayes(strength, n_classes),
        tuple(kinds.tolist()),
    )


def _bayes(strength: float, n_classes: int) -> float:
    """Return P(z₁ + strength > z₂, …, z_C) of independent normal z, by a fine sum over z₁."""
    z, step = np.linspace(-10, 10 + strength, 20001, retstep=True)
    own, other = (np.exp(-((z - mean) ** 2) / 2) / np.sqrt(2 * np.pi) for mean in (strength, 0.0))
    below = (np.cumsum(other) - other / 2) * step  # half of a cell lies below its middle
    return float((own * below ** (n_classes - 1)).sum() * step)


def _drift(n: int, width: int, draw: np.random.Generator) -> Float[np.ndarray, "row width"]:
    """Return independent slow signals of unit variance: x_t = ρ x_{t−1} + √(1 − ρ²) ε_t."""
    steps = draw.standard_normal((n, width))
    signal = steps.copy()
    for t in range(1, n):
        signal[t] = SLOWNESS * signal[t - 1] + np.sqrt(1 - SLOWNESS**2) * steps[t]
    return signal
