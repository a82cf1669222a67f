"""Compare the directions of two dictionaries, site by site."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.errors import PatchclampError
from patchclamp.core.matching import Comparison, compare_bases


@checked
@dataclass(frozen=True)
class DictionaryComparison:
    """Say how alike two dictionaries are.

    Args:
        sites: site to how alike its directions are, beside the second dictionary's turned at random.
        notes: what a reader must know.
    """

    sites: Mapping[str, Comparison]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON-ready data."""
        return {"sites": {site: asdict(each) for site, each in self.sites.items()}, "notes": list(self.notes)}


@checked
def compare_dictionaries(first: Dictionary, second: Dictionary, *, seed: Natural = 0) -> DictionaryComparison:
    """Match the directions of two dictionaries one to one at every site that both have, so that Σ |cos| is largest.

    Args:
        first: a dictionary.
        second: another one.
        seed: of the random turns of the second, which say what cosine chance gives, and of the intervals.

    Returns:
        DictionaryComparison: mean |cos| with its interval and that of random turns, by site.

    Raises:
        PatchclampError: no common site, neurons or heads, other widths, or too many directions.

    Source: 2309.08600, section 4, mean max cosine similarity. Departs from it in a matching one to one.

    Cost: six assignments per site, see ``compare_bases``.

    Example:
        >>> import numpy as np
        >>> from patchclamp.core.basis import Basis
        >>> one = Dictionary({"x": Basis("a", "directions", np.eye(8))}, {}, "by hand")
        >>> compare_dictionaries(one, one).sites["x"].cosine
        1.0
    """
    both = [site for site in first.bases if site in second.bases]
    if not both:
        raise PatchclampError(
            expected="two dictionaries of one site",
            got=f"{', '.join(first.bases)} and {', '.join(second.bases)}",
            remedy="Name two that write the same site.",
        )
    hashes = {str(each.subject.get("hash", "")) for each in (first, second)} - {""}
    notes = ("they were made on models of other weights",) if len(hashes) > 1 else ()
    matches = {site: compare_bases(first.bases[site], second.bases[site], seed=seed) for site in both}
    return DictionaryComparison(matches, notes)
