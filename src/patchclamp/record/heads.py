"""A language model whose attention heads can be surveyed as units, beside the neurons of its sites."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from patchclamp.core.site import Site, find_sites, listed_patterns
from patchclamp.subjects.bases import unit_activations
from patchclamp.subjects.language import LanguageModel

HEADS = "heads"


class WithHeads:
    """Show texts to a model and hand over, at sites named ``blocks.N.attn.z/heads``, one number per head.

    A head's number is the norm of its z, as ``explain`` and the lab print it. All else is the model's own.

    Args:
        model: the subject.

    Example:
        >>> from patchclamp.loaders import load
        >>> cat = WithHeads(load("organism:cat"))
        >>> [(site.path, site.width) for site in cat.select("blocks.0.attn.z/heads,blocks.0.mlp.act")]
        [('blocks.0.mlp.act', 16), ('blocks.0.attn.z/heads', 4)]
    """

    def __init__(self, model: LanguageModel) -> None:
        self.model = model

    def __getattr__(self, name: str) -> Any:
        """Give what is the model's own."""
        return getattr(self.model, name)

    def sites(self) -> list[Site]:
        """Return the model's sites, and after them one of heads for each that has heads of one width."""
        plain = self.model.sites()
        return [*plain, *(heads_of(site) for site in plain if has_heads(site))]

    def site(self, path: str) -> Site:
        """Return one site.

        Raises:
            PatchclampError: unknown; the nearest paths are named.
        """
        plain, basis = split_path(path)
        return self.model.site(path) if basis != HEADS else find_sites([path], self.sites())[0]

    def select(self, patterns: str | Sequence[str]) -> list[Site]:
        """Return the sites that match, those of heads last; patterns that end in ``/heads`` name these.

        Raises:
            PatchclampError: one names nothing; the nearest paths are named.
        """
        asked = [pattern.strip().removesuffix("/neurons") for pattern in listed_patterns(patterns)]
        of_heads = [pattern for pattern in asked if "/" in pattern]
        plain = [pattern for pattern in asked if "/" not in pattern]
        named = [site for site in self.sites() if "/" in site.path]
        return [
            *(self.model.select(plain) if plain or not of_heads else []),
            *(find_sites(of_heads, named) if of_heads else []),
        ]

    def watch(self, stimuli: Any, sites: Sequence[str], see: Callable[[str, Tensor], None]) -> None:
        """Show stimuli in one batch and hand over each site's ``(token, unit)`` rows; see ``LanguageModel.watch``."""
        reading: dict[str, list[str]] = {}
        for path in sites:
            reading.setdefault(split_path(path)[0], []).append(path)

        def hand_over(read: str, x: Tensor) -> None:
            for path in reading[read]:
                if path == read:
                    see(path, x)
                else:
                    see(path, unit_activations(x.float().unflatten(-1, (self.model.site(read).n_heads, -1))))

        self.model.watch(stimuli, list(reading), hand_over)


def has_heads(site: Site) -> bool:
    """Say whether heads can be read at a site as the norms of its blocks: what heads write, ``attn.z``."""
    return site.kind == "attn.z" and site.n_heads > 0 and site.width > 0


def heads_of(site: Site) -> Site:
    """Return the site of a site's heads, as wide as there are heads.

    Example:
        >>> heads_of(Site("blocks.0.attn.z", "attn.z", 64, n_heads=4)).width
        4
    """
    return replace(site, path=f"{site.path}/{HEADS}", width=site.n_heads, n_heads=0)


def site_path(path: str, basis: str) -> str:
    """Return what the site of a basis' units is called; the inverse of ``split_path`` for neurons and heads.

    Example:
        >>> site_path("blocks.0.attn.z", "heads"), site_path("blocks.0.mlp.act", "neurons")
        ('blocks.0.attn.z/heads', 'blocks.0.mlp.act')
    """
    return f"{path}/{HEADS}" if basis == HEADS else path


def split_path(path: str) -> tuple[str, str]:
    """Return the path of a site of the model, and the basis that the units are counted in.

    Example:
        >>> split_path("blocks.0.attn.z/heads"), split_path("blocks.0.mlp.act")
        (('blocks.0.attn.z', 'heads'), ('blocks.0.mlp.act', 'neurons'))
    """
    plain, _, basis = path.partition("/")
    return plain, basis or "neurons"
