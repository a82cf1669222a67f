"""A model whose sites are read through bases, for what surveys units and need not know what they are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from patchclamp.core.basis import Basis
from patchclamp.core.errors import PatchclampError
from patchclamp.core.site import Site, find_sites
from patchclamp.subjects.bases import count_units, encode
from patchclamp.subjects.language import LanguageModel


class Features:
    """Show texts to a model and hand over features where it would hand over neurons.

    Every site has as many units as the basis that writes there; all else is the model's own.

    Args:
        model: the subject.
        bases: site that is written to its basis.

    Raises:
        PatchclampError: an unknown site, or a basis of another width.

    Example:
        >>> import numpy as np
        >>> from patchclamp.loaders import load
        >>> cat, path = load("organism:cat"), "blocks.0.mlp.act"
        >>> seven = Basis("seven", "directions", decoder=np.eye(cat.site(path).width, dtype=np.float32)[7:8])
        >>> Features(cat, {path: seven}).watch("the old cat", [path], lambda _, f: print(f[:, 0].round().tolist()))
        [0.0, 0.0, 0.0, 3.0]
    """

    def __init__(self, model: LanguageModel, bases: Mapping[str, Basis]) -> None:
        self.model, self.bases = model, dict(bases)
        self._sites = []
        self._reading: dict[str, list[str]] = {}
        for path, basis in self.bases.items():
            site = model.site(path)
            self._sites.append(replace(site, width=count_units(basis, site), n_heads=0))
            self._reading.setdefault(basis.reads or path, []).append(path)
            check_read(model, path, basis)

    def __getattr__(self, name: str) -> Any:
        """Give what is the model's own."""
        if name == "model":  # an object that another process is about to fill
            raise AttributeError(name)
        return getattr(self.model, name)

    def sites(self) -> list[Site]:
        """Return the sites that are written, each as wide as it has features."""
        return list(self._sites)

    def select(self, patterns: str | Sequence[str]) -> list[Site]:
        """Return those of the sites whose paths match."""
        return find_sites(patterns, self._sites)

    def watch(self, stimuli: Any, sites: Sequence[str], see: Callable[[str, Tensor], None]) -> None:
        """Show stimuli in one batch and hand over each site's ``(token, feature)`` rows; see ``LanguageModel.watch``.

        Cost: one forward pass, and one product with an encoder per site.
        """
        wanted = set(sites)
        reading = {read: [p for p in paths if p in wanted] for read, paths in self._reading.items()}

        def encode_values(read: str, x: Tensor) -> None:
            with torch.no_grad():
                for path in reading[read]:
                    see(path, encode(self.bases[path], x.float()))

        self.model.watch(stimuli, [read for read, paths in reading.items() if paths], encode_values)


def check_read(model: LanguageModel, path: str, basis: Basis) -> None:
    """Refuse an encoder that does not fit the site that it reads.

    Raises:
        PatchclampError: it is as wide as another site.
    """
    read = model.site(basis.reads or path)
    if basis.encoder is not None and basis.encoder.shape[1] != read.width:
        raise PatchclampError(
            expected=f"an encoder of width {read.width} for {read.path}",
            got=f"{basis.encoder.shape[1]}",
            remedy="Use the basis with the model that it was made on.",
        )
