"""Recorded activity that is made of planted directions, made in code and never shipped."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float

from patchclamp.core.arguments import Natural, Positive, checked
from patchclamp.core.basis import Basis
from patchclamp.core.recording import Recording
from patchclamp.core.site import Site
from patchclamp.core.stimulus import Stimulus

SITE, WINDOW = "x", 100
WIDTH, FEATURES, ACTIVE = 32, 48, 2
GROUPS, NEURONS = 6, 6
PARTS, COMPONENTS = 5, 4

Variant = Literal["", "groups", "parts", "components", "noise", "uniform"]


@dataclass(frozen=True, eq=False)
class Planted:
    """Hold activity and what it is made of.

    Args:
        recording: of the site ``x``, rows × width.
        directions: what is planted, features × width, rows of length 1.
        codes: how much of each every row has, rows × features.
    """

    recording: Recording
    directions: Float[np.ndarray, "feature width"]
    codes: Float[np.ndarray, "row feature"]

    @property
    def basis(self) -> Basis:
        """What is planted, as a basis."""
        return Basis("planted", "directions", decoder=self.directions.astype(np.float32), site=SITE)

    @property
    def concepts(self) -> Recording:
        """The codes of the same stimuli, above zero where a feature is on."""
        sites = {"codes": Site("codes", "codes", self.codes.shape[1])}
        return replace(self.recording, values={"codes": self.codes.astype(np.float32)}, sites=sites)


def names() -> tuple[str, ...]:
    """List the organisms of planted directions."""
    return ("superposition",)


@checked
def make(variant: Variant = "", *, n_rows: Positive = 8000, seed: Natural = 0) -> Planted:
    """Make the organism.

    Args:
        variant: empty: 48 sparse features in 32 dimensions, about two of them on at a time. ``groups``: six signed
            groups of six neurons among 60, free to overlap. ``parts``: five non-negative parts of disjoint neurons.
            ``components``: four orthogonal directions of much variance. ``noise``: normal activity without any feature,
            and ``uniform`` of which none is negative, both beside directions and codes that it is not made of.
        n_rows: rows of activity.
        seed: of everything random.

    Returns:
        Planted: activity, directions and codes.

    Cost: milliseconds.

    Example:
        >>> planted = make(n_rows=200)
        >>> planted.recording["x"].shape, planted.directions.shape
        ((200, 32), (48, 32))
    """
    # A seed of its own: whoever draws with the same number must not draw what is planted.
    draw = np.random.default_rng([seed, WIDTH, FEATURES])
    if variant == "components":
        directions = np.linalg.qr(draw.standard_normal((WIDTH, WIDTH)))[0].T[:COMPONENTS]
        codes = draw.standard_normal((n_rows, COMPONENTS)) * 2.0 ** np.arange(COMPONENTS, 0, -1)
    elif variant == "groups":
        directions = np.zeros((GROUPS, 10 * NEURONS))
        for row in directions:
            row[draw.choice(len(row), NEURONS, replace=False)] = draw.standard_normal(NEURONS)
        codes = draw.exponential(size=(n_rows, GROUPS)) * (draw.random((n_rows, GROUPS)) < 0.2)
    elif variant in ("parts", "uniform"):
        directions = np.kron(np.eye(PARTS), np.ones(12)) * draw.uniform(0.5, 1, 12 * PARTS)
        codes = draw.exponential(size=(n_rows, PARTS)) * (draw.random((n_rows, PARTS)) < 0.4)
    else:
        directions = draw.standard_normal((FEATURES, WIDTH))
        codes = (draw.random((n_rows, FEATURES)) < ACTIVE / FEATURES) * draw.uniform(0.5, 1.5, (n_rows, FEATURES))
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    directions, codes = directions / lengths, codes * lengths.T
    rest = 0.05 * np.abs(draw.standard_normal((n_rows, directions.shape[1])))
    if variant in ("noise", "uniform"):
        rest = draw.random(rest.shape) if variant == "uniform" else draw.standard_normal(rest.shape)
    elif variant != "parts":
        rest *= draw.choice([-1, 1], rest.shape)
    x = (rest if variant in ("noise", "uniform") else codes @ directions + rest).astype(np.float32)
    stimuli = tuple(Stimulus.of(np.arange(len(part))) for part in np.split(x, range(WINDOW, n_rows, WINDOW)))
    sites = {SITE: Site(SITE, SITE, x.shape[1])}
    return Planted(Recording(stimuli, {SITE: x}, sites, {"subject": {"slug": "superposition"}}), directions, codes)
