"""Voxels that read a stimulus' features linearly, beside mute ones, slow ones and decoy features."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from patchclamp.core.arguments import Natural, Positive, checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.recording import Recording
from patchclamp.core.site import Site
from patchclamp.core.split import Split
from patchclamp.core.stimulus import Stimulus

N_FEATURES, N_READERS, N_MUTE, N_SLOW = 12, 12, 6, 6
SLOWNESS = 0.98
"""Correlation of a slow signal with itself one sample later."""


@checked
@dataclass(frozen=True, eq=False)
class LinearBrain:
    """Hold a planted brain whose truth is known, and which can be clamped.

    Args:
        features: what the stimuli hold, a row per showing.
        decoy: slow features that nothing reads.
        targets: the voxels: those that read features, mute ones (white noise), slow ones (slow noise).
        weights: ``(feature, voxel)`` of the readers; 0 elsewhere.
        ceiling: ``(voxel,)`` largest r of any prediction with one showing: √(signal variance / variance).
        kinds: ``(voxel,)`` ``reader``, ``mute`` or ``slow``.
        blocks: a split in which all showings of a stimulus are in one fold.
        noise: ``(showing, voxel)`` the noise of every voxel, which stays when one is clamped.
        asked: kinds of voxels of which it is asked whether they can be predicted.
    """

    features: Recording
    decoy: Recording
    targets: Recording
    weights: Float[np.ndarray, "feature voxel"]
    ceiling: Float[np.ndarray, " voxel"]
    kinds: tuple[str, ...]
    blocks: Split
    noise: Float[np.ndarray, "showing voxel"]
    asked: tuple[str, ...] = ("reader",)

    @property
    def readable(self) -> tuple[bool, ...]:
        """Of which voxels it is asked whether they can be predicted."""
        return tuple(kind in self.asked for kind in self.kinds)

    @property
    def signal(self) -> Float[np.ndarray, "showing voxel"]:
        """What the voxels hold of the features: the best prediction of them."""
        signal: np.ndarray = self.features["features"] @ self.weights
        return signal

    def rotate(self, seed: Natural = 0) -> "LinearBrain":
        """Return a brain of as many voxels as features: a random rotation of them, and noise of unit variance."""
        draw = np.random.default_rng(seed)
        x = self.features["features"]
        turned, upper = np.linalg.qr(draw.standard_normal((x.shape[1], x.shape[1])))
        weights, noise = turned * np.sign(np.diag(upper)), draw.standard_normal(x.shape)
        targets = _recording(self.targets.stimuli, "voxels", x @ weights + noise)
        kinds, ceiling = ("reader",) * x.shape[1], np.full(x.shape[1], np.sqrt(0.5))
        return replace(self, targets=targets, weights=weights, ceiling=ceiling, kinds=kinds, noise=noise)

    def drift(self) -> "LinearBrain":
        """Return the same voxels beside slow features that none of them reads, and ask for the slow ones."""
        nothing, ceiling = np.zeros_like(self.weights), np.zeros_like(self.ceiling)
        return replace(self, features=self.decoy, weights=nothing, ceiling=ceiling, asked=("slow",))

    def mute(self) -> "LinearBrain":
        """Return the features beside voxels that read nothing, as many as there are, and ask for these."""
        draw = np.random.default_rng(len(self.noise))
        noise = draw.standard_normal(self.noise.shape)
        targets = _recording(self.targets.stimuli, "voxels", noise)
        nothing, kinds = np.zeros_like(self.weights), ("mute",) * len(self.kinds)
        ceiling = np.zeros_like(self.ceiling)
        return replace(
            self, targets=targets, weights=nothing, ceiling=ceiling, kinds=kinds, noise=noise, asked=("mute",)
        )

    def inputs(self, takes: Mapping[str, str]) -> dict[str, Any] | None:
        """Return what a method takes: recordings in the order of its parameters, first the features, and the split.

        Args:
            takes: parameter → noun, as ``Method.takes`` gives it.

        Returns:
            dict: by the names of the parameters; None where it takes something else.
        """
        taken = [noun.rstrip("?") for noun in takes.values()]
        if set(taken) - {"Recording", "Split"} or taken.count("Recording") > 2:
            return None
        recordings, nouns = iter((self.features, self.targets)), {"Split": self.blocks}
        return {
            name: next(recordings) if noun.rstrip("?") == "Recording" else nouns[noun.rstrip("?")]
            for name, noun in takes.items()
        }

    def clamp(self, feature: Natural, value: float) -> "LinearBrain":
        """Return the same brain, with the same noise, while one feature is held at a value.

        Raises:
            PatchclampError: no such feature.
        """
        x = self.features["features"].copy()
        if feature >= x.shape[1]:
            raise PatchclampError(
                expected=f"a feature from 0 to {x.shape[1] - 1}", got=str(feature), remedy="Count from 0."
            )
        x[:, feature] = value
        features = replace(self.features, values={"features": x})
        targets = replace(self.targets, values={"voxels": x @ self.weights + self.noise})
        return replace(self, features=features, targets=targets)


def make(
    *,
    variant: Literal["", "rotated", "drift", "mute"] = "",
    n_stimuli: Positive = 60,
    n_showings: Positive = 2,
    snr: float = 1.0,
    seed: Natural = 0,
) -> LinearBrain:
    """Make the organism: stimuli shown in blocks, every block's stimuli shown several times within it.

    Args:
        variant: ``rotated``, ``drift`` or ``mute``, as the methods of ``LinearBrain`` make them; empty for itself.
        n_stimuli: different stimuli.
        n_showings: of each.
        snr: variance of a reader's signal over that of its noise.
        seed: of everything random.

    Returns:
        LinearBrain: features, decoy, voxels and the truth.

    Cost: milliseconds.

    Example:
        >>> brain = make(n_stimuli=20)
        >>> brain.targets["voxels"].shape, float(brain.ceiling[0].round(2))
        ((40, 24), 0.71)
    """
    draw = np.random.default_rng(seed)
    n_blocks = 5
    block = np.arange(n_stimuli) * n_blocks // n_stimuli
    # Within a block all stimuli are shown once, then all again, so that a stimulus never follows itself.
    order = np.concatenate([np.tile(np.flatnonzero(block == k), n_showings) for k in range(n_blocks)])
    n, n_voxels = len(order), N_READERS + N_MUTE + N_SLOW
    held = draw.standard_normal((n_stimuli, N_FEATURES))
    weights = np.zeros((N_FEATURES, n_voxels))
    weights[:, :N_READERS] = draw.standard_normal((N_FEATURES, N_READERS))
    weights[:, :N_READERS] /= np.linalg.norm(weights[:, :N_READERS], axis=0)
    noise = draw.standard_normal((n, n_voxels))
    noise[:, :N_READERS] /= np.sqrt(snr)
    noise[:, N_READERS + N_MUTE :] = _slow(n, N_SLOW, draw)
    x = held[order]
    stimuli = tuple(Stimulus.of(np.array([int(i)])) for i in order)
    kinds = ("reader",) * N_READERS + ("mute",) * N_MUTE + ("slow",) * N_SLOW
    ceiling = np.where(np.array(kinds) == "reader", np.sqrt(snr / (1 + snr)), 0.0)
    brain = LinearBrain(
        _recording(stimuli, "features", x),
        _recording(stimuli, "features", _slow(n, N_FEATURES, draw)),
        _recording(stimuli, "voxels", x @ weights + noise),
        weights,
        ceiling,
        kinds,
        Split(block[order], 0, f"{n_blocks} blocks of stimuli"),
        noise,
    )
    if variant == "rotated":
        return brain.rotate(seed)
    return brain.drift() if variant == "drift" else brain.mute() if variant == "mute" else brain


def _slow(n: int, width: int, draw: np.random.Generator) -> Float[np.ndarray, "row width"]:
    """Return independent slow signals of unit variance: x_t = ρ x_{t−1} + √(1 − ρ²) ε_t."""
    steps = draw.standard_normal((n, width))
    signal = np.empty((n, width))
    signal[0] = steps[0]
    for t in range(1, n):
        signal[t] = SLOWNESS * signal[t - 1] + np.sqrt(1 - SLOWNESS**2) * steps[t]
    return signal


def _recording(stimuli: tuple[Any, ...], site: str, values: np.ndarray) -> Recording:
    return Recording(
        stimuli, {site: values}, {site: Site(site, site, values.shape[1])}, {"subject": {"slug": "brain-linear"}}
    )
