"""Which units are read, at which sites of a model, and how their activations come from what a site does."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchclamp.core.basis import Basis
from patchclamp.core.errors import PatchclampError
from patchclamp.core.site import Site, find_sites, listed_patterns
from patchclamp.core.unit import UnitKey
from patchclamp.subjects.bases import count_units, encode, unit_activations
from patchclamp.subjects.recordable import select_recordable

HEADS, NEURONS, CHANNELS = "heads", "neurons", "channels"


@dataclass(frozen=True, eq=False)
class UnitSource:
    """Name the units that are read at one site.

    Args:
        site: where they are, as wide as it has such units.
        basis: what they are called in keys: ``neurons``, ``heads``, ``channels`` or a basis' name.
        reads: path of the site whose values they are computed from.
        n_heads: blocks into which these values are cut; 0 where units are no heads.
        features: the basis of features; None of other units.
        chosen: the units that are read, in order; None: all.
    """

    site: Site
    basis: str
    reads: str
    n_heads: int = 0
    features: Basis | None = field(default=None, repr=False)
    chosen: Int[np.ndarray, " unit"] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The site's path; of units other than neurons and channels with their basis behind it."""
        return self.site.path if self.basis in (NEURONS, CHANNELS) else f"{self.site.path}/{self.basis}"

    @property
    def numbers(self) -> Int[np.ndarray, " unit"]:
        """The units' numbers at the site."""
        return np.arange(self.site.width) if self.chosen is None else self.chosen

    def __len__(self) -> int:
        return self.site.width if self.chosen is None else len(self.chosen)

    def activations(self, x: Float[Tensor, "row width"]) -> Float[Tensor, "row unit"]:
        """Return the units' activations from the values of the site that they are computed from.

        Neurons and channels are the values; a head is the norm of what it writes; features are encoded. What is not
        finite is 0.
        """
        x = x.float()
        if self.n_heads:
            x = unit_activations(x.unflatten(-1, (self.n_heads, -1)))
        elif self.features is not None:
            x = encode(self.features, x)
        if self.chosen is not None:
            x = x[:, torch.from_numpy(self.chosen).to(x.device)]
        # One sum costs far less than a question to every value.
        return x if torch.isfinite(x.sum()) else x.nan_to_num(0, 0, 0)


def watch_units(
    model: Any, sources: Sequence[UnitSource], batch: Sequence[Any], see: Callable[[int, Tensor], object]
) -> None:
    """Show a batch, and hand over the activations of each source, by its place among them.

    Cost: one forward pass, stopped at the last site.
    """

    def hand_over(path: str, x: Tensor) -> None:
        with torch.no_grad():
            for i, source in enumerate(sources):
                if source.reads == path:
                    see(i, source.activations(x))

    model.watch(batch, list(dict.fromkeys(source.reads for source in sources)), hand_over)


def choose_units(model: Any, units: Any, bases: Mapping[str, Basis]) -> tuple[UnitSource, ...]:
    """Return where the units lie that are asked for.

    Args:
        model: the subject.
        units: patterns of sites, such as ``blocks.*.mlp.act`` or ``blocks.*.attn.z/heads``; keys of units; or None: the
            features of the bases where there are any, else all neurons behind the nonlinearities, and all heads.
        bases: site that is written to its basis of features.

    Returns:
        tuple[UnitSource, ...]: one per site and basis.

    Raises:
        PatchclampError: an unknown site or unit, a basis that does not fit, or nothing asked for of a model of images.

    Example:
        >>> from patchclamp.loaders import load
        >>> len(choose_units(load("organism:cat"), "blocks.0.mlp.act", {}))
        1
    """
    for path, basis in bases.items():
        _check_basis(model, path, basis)
    asked = _usual(model, bases) if units is None else listed_patterns(units) if isinstance(units, str) else list(units)
    patterns = [one for one in asked if not _is_key(one)]
    wanted: dict[tuple[str, str], set[int]] = {}
    for key in (UnitKey.parse(one) for one in asked if _is_key(one)):
        wanted.setdefault((key.site, key.basis), set()).add(key.index)
    found: dict[str, UnitSource] = {}
    for pattern in patterns:
        found.update({source.name: source for source in _match(model, pattern, bases)})
    for (path, called), chosen in wanted.items():
        [source] = _match(model, f"{path}/{called}", bases)
        if max(chosen) >= source.site.width:
            raise PatchclampError(
                expected=f"units of {path}/{called} from 0 to {source.site.width - 1}",
                got=str(max(chosen)),
                remedy="Count from 0.",
            )
        found.setdefault(source.name, replace(source, chosen=np.array(sorted(chosen))))
    if not found:
        raise PatchclampError(
            expected="units to draw evidence for", got="none", remedy="For example 'blocks.*.mlp.act'."
        )
    return tuple(found.values())


def _is_key(text: str) -> bool:
    return str(text).rpartition("/")[2].isdigit() and str(text).count("/") >= 2


def _usual(model: Any, bases: Mapping[str, Basis]) -> list[str]:
    if bases:
        return [f"{path}/{basis.name}" for path, basis in bases.items()]
    if not hasattr(model, "tokenizer"):
        raise PatchclampError(
            expected="the sites whose channels are asked for",
            got=f"none, of {getattr(model, 'name', type(model).__name__)}",
            remedy="Name them, for example '*.conv1.act'; `patchclamp info` lists the sites.",
        )
    sites = [site for site in model.sites() if site.width and not site.ragged]
    neurons = [site.path for site in sites if site.kind == "mlp.act"]
    return [*neurons, *(f"{site.path}/{HEADS}" for site in sites if _has_heads(site))]


def _has_heads(site: Site) -> bool:
    return site.kind == "attn.z" and site.n_heads > 0 and site.width > 0


def _match(model: Any, pattern: str, bases: Mapping[str, Basis]) -> Iterable[UnitSource]:
    """Yield the sources that a pattern names, which may end with a basis."""
    path, _, basis = pattern.partition("/")
    if basis == HEADS:
        some = [site for site in model.sites() if _has_heads(site)]
        for site in find_sites([path], some):
            yield UnitSource(replace(site, width=site.n_heads, n_heads=0), HEADS, site.path, n_heads=site.n_heads)
    elif basis in ("", NEURONS, CHANNELS):
        for site in select_recordable(model, path):
            called = CHANNELS if "channel" in site.axes else NEURONS
            yield UnitSource(replace(site, n_heads=0), called, site.path)
    else:
        named = {p: b for p, b in bases.items() if b.name == basis}
        if not named:
            raise PatchclampError(
                expected=f"a basis among {', '.join([NEURONS, HEADS, *sorted({b.name for b in bases.values()})])}",
                got=repr(basis),
                remedy="Give the basis of features by the site that it writes, as bases={site: basis}.",
            )
        for site in find_sites([path], [model.site(p) for p in named]):
            own = named[site.path]
            width = count_units(own, site)
            yield UnitSource(replace(site, width=width, n_heads=0), basis, own.reads or site.path, features=own)


def _check_basis(model: Any, path: str, basis: Basis) -> None:
    """Refuse what is no basis of features, or does not fit the sites that it reads and writes."""
    if basis.kind != "directions":
        raise PatchclampError(
            expected="a basis of directions", got=f"one of {basis.kind}", remedy="Name neurons and heads as sites."
        )
    count_units(basis, model.site(path))
    read = model.site(basis.reads or path)
    if basis.encoder is not None and basis.encoder.shape[1] != read.width:
        raise PatchclampError(
            expected=f"an encoder of width {read.width} for {read.path}",
            got=f"{basis.encoder.shape[1]}",
            remedy="Use the basis with the model that it was made on.",
        )
