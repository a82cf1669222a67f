"""Sites that kinds and patterns name, and the positions that are patched in every prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from patchclamp.core.errors import PatchclampError
from patchclamp.core.intervention import Span, spans
from patchclamp.subjects.cases import ReadTask
from patchclamp.subjects.model import Model

SITES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "resid": (("resid_in", "resid_out"), "whole"),
    "attn": (("attn.write",), "whole"),
    "mlp": (("mlp.write",), "whole"),
    "head": (("attn.z",), "heads"),
    "neuron": (("mlp.act",), "neurons"),
}
"""Kinds of sites and their units; of ``resid_out`` the last block's alone, for the others are the next one's input."""
USUAL = ("resid", "attn", "mlp")


def sites_named(model: Model, sites: str | Sequence[str]) -> list[tuple[str, str]]:
    """Return the sites that kinds and patterns name, each with the basis whose units are patched.

    Raises:
        PatchclampError: unknown ones, or none.
    """
    named: dict[tuple[str, str], None] = {}
    if not len(sites):
        raise PatchclampError(
            expected=f"sites among {', '.join(SITES)}, feature, or patterns of site paths",
            got="none",
            remedy="Leave sites out for the residual stream, attention and MLPs.",
        )
    for name in (part.strip() for part in (sites.split(",") if isinstance(sites, str) else sites)):
        if name in SITES:
            if model.levels and hasattr(model, "covered"):  # of texts the family says which sites these are
                model.covering_family()
            kinds, basis = SITES[name]
            last = max((site.layer or 0 for site in model.sites()), default=0)
            chosen = [
                (site.path, basis)
                for site in model.sites()
                if site.kind in kinds and (site.kind != "resid_out" or site.layer == last)
            ]
        elif name == "feature":
            chosen = list(model.of_level("feature").items())
        elif "." in name or name in ("embed", "final"):
            pattern, _, basis = name.partition("/")
            chosen = [(site.path, basis or "whole") for site in model.select(pattern)]
        else:
            chosen = []
        wide = [at for at in chosen if model.site(at[0]).width and not model.site(at[0]).ragged]
        if not wide:
            raise PatchclampError(
                expected=f"sites among {', '.join(SITES)}, feature, or patterns of site paths",
                got=repr(name),
                remedy="`patchclamp info MODEL` lists paths, of a plain network net.sites(); attention patterns and "
                "single experts, which not every token comes by, cannot be patched.",
            )
        named.update(dict.fromkeys(wide))
    return list(named)


@dataclass(frozen=True)
class Grid:
    """Hold the places, and where each lies in a prompt.

    Args:
        places: their names.
        how: ``start``, ``end``, ``all`` or ``spans``.
        given: the spans, if places are spans.
    """

    places: tuple[str, ...]
    how: str
    given: tuple[Span, ...] = ()

    def at(self, place: int, length: int) -> tuple[int, ...]:
        """Return the positions of a place in a prompt of some length; none where the prompt has no such place."""
        if self.how == "all":
            return tuple(range(length))
        if self.how == "spans":
            span = self.given[place]
            stop = length if span.stop is None else span.stop + length * (span.stop < 0)
            start = span.start + length * (span.start < 0)
            # A run that begins before the prompt does is another run, not a part of it.
            return tuple(range(start, min(stop, length))) if start >= 0 else ()
        position = place if self.how == "start" else length - len(self.places) + place
        return (position,) if 0 <= position < length else ()


def grid_of(cases: ReadTask, positions: str | Sequence[str]) -> Grid:
    """Return the places that ``positions`` names in the prompts of these cases.

    Raises:
        PatchclampError: a span that no prompt has.
    """
    lengths = {len(x) for x in cases.clean}
    longest = max(lengths)
    if positions == "all":
        return Grid(("all",), "all")
    if positions == "each":
        if len(lengths) == 1:
            return Grid(tuple(str(p) for p in range(longest)), "start")
        return Grid(tuple(str(p) for p in range(-longest, 0)), "end")
    given = tuple(dict.fromkeys(spans(positions) or ()))
    grid = Grid(tuple(map(str, given)), "spans", given)
    for place, span in enumerate(given):
        if span.steps or not any(grid.at(place, length) for length in lengths):
            raise PatchclampError(
                expected=f"each, all, or spans of positions within {longest} tokens",
                got=str(span),
                remedy="Such as -1, 3:5 or -4:, joined by commas.",
            )
    return grid
