"""A language model whose attention heads can be surveyed as units, beside the neurons of its sites."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from patchclamp.core.site import Site, find_sites, listed_patterns
from patchclamp.subjects.bases import unit_activations
from patchclamp.subjects.language import LanguageModel

HEADS = "heads"


class WithHeads:
    """Show texts to a model and hand over heads as units of their own, one number per head.

    A head's number is the norm of its z, as ``explain`` and the lab print it. Heads lie at sites of their own,
    ``blocks.N.attn.z/heads``. Those of all blocks are handed over together, as one site: a pass over a text costs per
    site, and a block has few heads. All else is the model's own.

    Args:
        model: the subject.
        heads: the sites of heads that are read together.

    Example:
        >>> from patchclamp.loaders import load
        >>> cat = WithHeads(load("organism:cat"))
        >>> [(site.path, site.width) for site in cat.select("blocks.0.attn.z/heads,blocks.0.mlp.act")]
        [('blocks.0.mlp.act', 16), ('blocks.0.attn.z/heads', 4)]
    """

    def __init__(self, model: LanguageModel, heads: Sequence[Site] = ()) -> None:
        self.model = model
        self.heads = tuple(heads)

    def __getattr__(self, name: str) -> Any:
        """Give what is the model's own."""
        if name == "model":  # an object that another process is about to fill
            raise AttributeError(name)
        return getattr(self.model, name)

    @cached_property
    def together(self) -> Site | None:
        """The site of all heads that are read together; None where none are."""
        if not self.heads:
            return None
        blocks = ",".join(str(site.layer) for site in self.heads)
        path, width = f"blocks.{{{blocks}}}.attn.z/{HEADS}", sum(site.width for site in self.heads)
        return replace(self.heads[0], path=path, width=width, layer=None)

    def read_as(self, sites: Sequence[Site]) -> list[Site]:
        """Return sites as a pass over a text reads them: those of heads as one."""
        plain = [site for site in sites if site not in self.heads]
        return plain if self.together is None or len(plain) == len(sites) else [*plain, self.together]

    def locate(self, path: str) -> tuple[str, slice]:
        """Return the path under which a site is handed over, and which of the units there are its own."""
        first = 0
        for site in self.heads:
            if site.path == path and self.together is not None:
                return self.together.path, slice(first, first + site.width)
            first += site.width
        return path, slice(None)

    def sites(self) -> list[Site]:
        """Return the model's sites, and after them one of heads for each that has heads."""
        plain = self.model.sites()
        return [*plain, *(heads_of(site) for site in plain if has_heads(site))]

    def site(self, path: str) -> Site:
        """Return one site.

        Raises:
            PatchclampError: unknown; the nearest paths are named.
        """
        return find_sites([path], self.sites())[0] if path.endswith(f"/{HEADS}") else self.model.site(path)

    def select(self, patterns: str | Sequence[str]) -> list[Site]:
        """Return the sites that match, those of heads last; patterns that end in ``/heads`` name these.

        Raises:
            PatchclampError: one names nothing; the nearest paths are named.
        """
        asked = [pattern.strip().removesuffix("/neurons") for pattern in listed_patterns(patterns)]
        together = [self.together] if self.together is not None and self.together.path in asked else []
        of_heads = [p for p in asked if "/" in p and not (together and p == together[0].path)]
        plain = [pattern for pattern in asked if "/" not in pattern]
        named = [site for site in self.sites() if "/" in site.path]
        return [
            *(self.model.select(plain) if plain else []),
            *(find_sites(of_heads, named) if of_heads else []),
            *together,
        ]

    def watch(self, stimuli: Any, sites: Sequence[str], see: Callable[[str, Tensor], None]) -> None:
        """Show stimuli in one batch and hand over each site's ``(token, unit)`` rows; see ``LanguageModel.watch``."""
        together = self.together if self.together is not None and self.together.path in sites else None
        reads = [split_path(site.path)[0] for site in self.heads] if together else []
        plain = {path for path in sites if together is None or path != together.path}
        norms: dict[str, Tensor] = {}

        def hand_over(path: str, x: Tensor) -> None:
            if path in plain:
                see(path, x)
            if path in reads:
                norms[path] = unit_activations(x.float().unflatten(-1, (self.model.site(path).n_heads, -1)))
                if together is not None and len(norms) == len(reads):
                    see(together.path, torch.cat([norms[read].cpu() for read in reads], 1))

        self.model.watch(stimuli, list(dict.fromkeys([*plain, *reads])), hand_over)


def has_heads(site: Site) -> bool:
    """Say whether heads can be read at a site as the norms of its blocks: what heads write, ``attn.z``."""
    return site.kind == "attn.z" and site.n_heads > 0 and site.width > 0


def is_heads(site: Site) -> bool:
    """Say whether a site is one of heads as units."""
    return site.path.endswith(f"/{HEADS}")


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
