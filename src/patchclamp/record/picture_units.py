"""A model of images whose attention heads are units, for what surveys units and need not know what they are."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from patchclamp.core.site import Site, find_sites, listed_patterns
from patchclamp.subjects.vision import VisionModel

HEADS = "attn.z"
"""Kind of the sites at which a head's own output can be read."""


class PictureUnits:
    """Show images to a model and hand over one number per place and unit: of a head the norm of what it puts out.

    A site ``attn.z`` has as many units as heads; every other site has those of the model.

    Args:
        model: the subject.

    Example:
        >>> from patchclamp.loaders import load
        >>> units = PictureUnits(load("organism:digits-vit"))
        >>> units.watch("digits:7", ["blocks.0.attn.z"], lambda path, x: print(path, tuple(x.shape)))
        blocks.0.attn.z (17, 4)
    """

    def __init__(self, model: VisionModel) -> None:
        self.model = model
        self._heads = {s.path: s.n_heads for s in model.sites() if s.kind == HEADS and s.n_heads and s.width}

    def __getattr__(self, name: str) -> Any:
        """Give what is the model's own."""
        if name == "model":  # an object that another process is about to fill
            raise AttributeError(name)
        return getattr(self.model, name)

    def sites(self) -> list[Site]:
        """Return the model's sites, those of heads as wide as they have heads."""
        return [replace(s, width=self._heads[s.path]) if s.path in self._heads else s for s in self.model.sites()]

    def select(self, patterns: str | Sequence[str]) -> list[Site]:
        """Return those of the sites whose paths match."""
        # The heads of a site are its only units, so that a basis behind its path says nothing more.
        return find_sites([one.strip().removesuffix("/heads") for one in listed_patterns(patterns)], self.sites())

    def basis(self, site: Site) -> str:
        """Return what the units of a site are called in keys: ``heads``, ``channels`` of a map, else ``neurons``."""
        return "heads" if site.path in self._heads else "channels" if "channel" in site.axes else "neurons"

    def watch(self, stimuli: Any, sites: Sequence[str], see: Callable[[str, Tensor], None]) -> None:
        """Show images in one batch and hand over each site's ``(place, unit)`` rows; see ``VisionModel.watch``.

        Cost: one forward pass, stopped at the last site.
        """

        def take_norms(path: str, x: Tensor) -> None:
            heads = self._heads.get(path)
            see(path, x if heads is None else x.float().unflatten(1, (heads, -1)).norm(dim=2))

        self.model.watch(stimuli, sites, take_norms)
