"""Which sites have one vector per token, so that their values can be kept, surveyed and decomposed."""

from collections.abc import Sequence
from typing import Any

from patchclamp.core.errors import PatchclampError
from patchclamp.core.site import Site


def select_recordable(model: Any, sites: str | Sequence[str]) -> list[Site]:
    """Return the sites that patterns name with one vector per token; attention patterns and experts fall out of globs.

    Raises:
        PatchclampError: others were asked for by name, or nothing else.
    """
    selected = model.select(sites)
    fixed = [site for site in selected if site.width and not site.ragged]
    asked = {p.strip() for p in (sites.split(",") if isinstance(sites, str) else sites)}
    named = [site.path for site in selected if site not in fixed and site.path in asked]
    ragged = [site.path for site in selected if site.ragged and (site.path in asked or not fixed)]
    if ragged:
        raise PatchclampError(
            expected="sites that every token comes by",
            got=f"{', '.join(ragged[:4])}, which only some tokens come by",
            remedy="Read them with model.run(record=…) in Python, or record mlp.router and mlp.write.",
        )
    if named or not fixed:
        raise PatchclampError(
            expected="sites with one width per position",
            got=f"{', '.join(named[:4]) or 'only attention patterns'}, as wide as the stimulus is long",
            remedy="Read them with model.run(record=…) in Python, or record attn.q and attn.k.",
        )
    return fixed
