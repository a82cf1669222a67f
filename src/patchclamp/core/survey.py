"""Survey: what every unit of some sites did over a text, without the activations themselves."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.bundle import Bundle
from patchclamp.core.errors import PatchclampError, fitting
from patchclamp.core.recording import RESTORE, check_shapes, kind_of, sites_of
from patchclamp.core.stimulus import Picture, unpacked

PROBABILITIES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
"""Where the survey states quantiles."""


@dataclass(frozen=True)
class Exemplar:
    """One token, or one place of an image, at which a unit was looked at.

    Args:
        kind: ``top``, ``quantile`` or ``random``.
        value: the unit's activation there.
        stimulus: index of the stimulus in the text's windows, or of the image.
        position: logical position in it.
        ids: token ids of the whole stimulus; empty of an image.
        image: the image's name, such as ``digits:17``; empty of text.
        place: ``(y, x)`` of the position on a map, ``(position,)`` elsewhere.
    """

    kind: str
    value: float
    stimulus: int
    position: int
    ids: tuple[int, ...]
    image: str = ""
    place: tuple[int, ...] = ()


@checked
class StoredSurvey:
    """Read a survey from its folder.

    Args:
        path: the folder that ``patchclamp survey`` wrote.

    Raises:
        PatchclampError: no survey there, or one that was interrupted.
        Damaged: a piece is not what it was.
    """

    def __init__(self, path: str | Path) -> None:
        self.bundle = Bundle.open(path, kind="survey")
        if not self.bundle.whole:
            raise PatchclampError(
                expected="a finished survey", got=f"{path}, which was interrupted", remedy="Run it again with --resume."
            )
        self.sites = sites_of(self.bundle)
        self.kind = kind_of(self.bundle)

    @property
    def hash(self) -> str:
        """Content hash of manifest and pieces."""
        return self.bundle.hash

    @property
    def n_tokens(self) -> int:
        """Number of tokens that were counted; of images, how many were shown."""
        return int(self.bundle.entries[-1].get("counted", 0))

    def statistics(self, site: str) -> dict[str, Any]:
        """Return a site's statistics by name, each ``(unit, …)``.

        ``mean``, ``variance``, ``minimum``, ``maximum``, ``active`` (share of tokens above 0), ``quantiles``
        ``(unit, probability)`` at ``PROBABILITIES`` from a uniform sample of tokens, and where the minimum stands.
        """
        self._known(site)
        names = ("mean", "variance", "minimum", "maximum", "active", "quantiles", "minimum_at")
        check_shapes(self.bundle, ["statistics"])
        found = self.bundle.read("statistics", [f"{site}|{n}" for n in names])
        return {n: found[f"{site}|{n}"] for n in names}

    def mean(self, site: str) -> Any:
        """Return the ``(width,)`` mean over counted tokens, for mean ablation."""
        self._known(site)
        check_shapes(self.bundle, ["statistics"])
        return self.bundle.read("statistics", [f"{site}|mean"])[f"{site}|mean"]

    def of(self, site: str, stimulus: Natural) -> Any:
        """Refuse: a survey holds no activations.

        Raises:
            PatchclampError: always.
        """
        raise PatchclampError(
            expected="a recording", got="a survey, which holds no activations", remedy="Record the text for that."
        )

    def donors(self, site: str, position: Natural, avoid: str) -> list[int]:
        """Return nothing: a survey holds no activations to resample."""
        return []

    def exemplars(
        self, site: str, unit: Natural, kinds: Sequence[str] = ("top", "quantile", "random")
    ) -> list[Exemplar]:
        """Return a unit's exemplars: highest first, then one per decile from low to high, then random ones.

        Cost: reads the exemplar tables of one site.
        """
        self._known(site)
        strange = [kind for kind in kinds if kind not in ("top", "quantile", "random")]
        if strange or unit >= self.sites[site].width:
            raise PatchclampError(
                expected=f"a unit from 0 to {self.sites[site].width - 1}, and kinds among top, quantile, random",
                got=f"unit {unit}, kinds {', '.join(map(str, kinds))}",
                remedy="Count from 0.",
            )
        with fitting(self.bundle.path, RESTORE):
            return self._exemplars(site, unit, kinds)

    def _exemplars(self, site: str, unit: int, kinds: Sequence[str]) -> list[Exemplar]:
        names = [f"{site}|{kind}_{part}" for kind in kinds for part in ("value", "at")]
        tables = self.bundle.read("exemplars", names)
        contexts = self.bundle.read("contexts")
        index = contexts["stimulus"]
        pictures = unpacked(contexts) if self.kind != "text" else ()
        found = []
        for kind in kinds:
            values, at = tables[f"{site}|{kind}_value"][unit], tables[f"{site}|{kind}_at"][unit]
            for value, (stimulus, position) in zip(values, at, strict=True):
                if stimulus >= 0:
                    row = int(np.searchsorted(index, stimulus))
                    if index[row] != stimulus:
                        raise LookupError(f"no stimulus {stimulus}")
                    shown = pictures[row] if pictures else None
                    words: tuple[int, ...] = ()
                    if isinstance(shown, Picture):
                        name = shown.name or shown.id
                    else:
                        first, last = contexts["offsets"][row : row + 2]
                        words, name = tuple(int(i) for i in contexts["ids"][first:last]), ""
                    place = self.sites[site].place(int(position))
                    found.append(Exemplar(kind, float(value), int(stimulus), int(position), words, name, place))
        return found

    def _known(self, site: str) -> None:
        if site not in self.sites:
            raise PatchclampError(
                expected=f"a site of this survey: {', '.join(list(self.sites)[:6])}",
                got=repr(site),
                remedy="Survey that site.",
            )
