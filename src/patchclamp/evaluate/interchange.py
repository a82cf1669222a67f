"""Interchange: pairs run with some parts of a network as they are, and everything else as in another run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from patchclamp.core.basis import Basis
from patchclamp.core.circuit import Part
from patchclamp.core.errors import PatchclampError
from patchclamp.core.intervention import Intervention
from patchclamp.core.site import Site
from patchclamp.core.subject import Progress
from patchclamp.core.unit import UnitKey
from patchclamp.subjects.bases import Units, encode
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.pairs import PairSet

ROWS = 128
"""Most rows of one forward pass: pairs times subsets."""
COPIES = 6
"""Values of the widest site that one forward pass holds at a time, as the memory estimate counts them."""


@dataclass(frozen=True, eq=False)
class _Place:
    """The parts at one site: which of the circuit's, and which units they are."""

    site: Site
    basis: Basis
    parts: Int[np.ndarray, " some"]
    units: Units

    @property
    def featured(self) -> bool:
        return self.basis.kind == "directions"

    def values(self, x: Float[Tensor, "n width"]) -> Float[Tensor, "n unit"]:
        """Return what is held against a reference: features of a basis, else the site's own columns."""
        return encode(self.basis, x) if self.featured else x

    def outside(self, kept: Bool[np.ndarray, "subset part"], width: int) -> Bool[Tensor, "subset unit"]:
        """Return which of those values belong to parts that are not kept; what is no part stays as it is."""
        found = torch.zeros(len(kept), width, dtype=torch.bool)
        gone = torch.from_numpy(~kept[:, self.parts])
        if self.featured:
            found[:, self.units.chosen()] = gone
        else:
            columns = self.units.columns(width)
            assert columns is not None
            found[:, columns] = gone.repeat_interleave(len(columns) // len(self.parts), dim=1)
        return found


class Interchange:
    """Run clean prompts with everything outside a circuit as on the corrupted ones, or as on average.

    Parts are units (nodes, neurons, heads, features). Those that are not kept take their value of the reference run at
    every position, in one forward pass from first block to last; those that are kept compute theirs from what reaches
    them. Of features the part along their direction is replaced and the error x − x̂ stays.

    Args:
        model: the subject.
        pairs: whom it is measured on.
        parts: keys of units; whatever the model has beside them is never replaced.
        means: pairs over whose clean and corrupted prompts the reference is the mean, position by position; the
            corrupted prompt of each pair where left out.

    Raises:
        PatchclampError: a part that the model has not, or a length that no pair of ``means`` has.

    Example:
        >>> from patchclamp.core.pairs import Pair
        >>> from patchclamp.opening import load
        >>> from patchclamp.subjects.pairs import read_by
        >>> cat = load("organism:cat")
        >>> pairs = read_by(cat, [Pair("the old cat", "the old dog", (" sat",), (" ran",))])
        >>> swapped = Interchange(cat, pairs, ["blocks.0.mlp.act/neurons/7"])
        >>> swapped.measure(np.array([[True], [False]])).round(1).tolist()
        [[4.0], [-4.0]]
    """

    def __init__(
        self, model: LanguageModel, pairs: PairSet, parts: Sequence[Part], *, means: PairSet | None = None
    ) -> None:
        self.model = model
        self.pairs = pairs
        self.n_parts = len(parts)
        self.places = _places(model, parts)
        self.means = None if means is None else self._averaged(means)

    @property
    def memory_bytes(self) -> int:
        """Estimate of what one batch holds: the reference's values, and the widest site a few times over."""
        longest = max(len(x) for x in self.pairs.clean)
        widths = [place.basis.n_units if place.featured else place.site.width for place in self.places]
        held = min(len(self.pairs), ROWS) * sum(widths) + COPIES * ROWS * max(widths)
        return int(held * longest * torch.finfo(self.model.dtype).bits // 8)

    def count_rows(self, n_subsets: int) -> int:
        """Return how many prompts go through the network for so many subsets, reference runs included."""
        return len(self.pairs) * (n_subsets + 1)

    def measure(
        self, kept: Bool[np.ndarray, "subset part"], *, progress: Progress | None = None
    ) -> Float[np.ndarray, "subset pair"]:
        """Return m of every pair with only some parts kept.

        Args:
            kept: subsets of the parts.
            progress: called with rows done and rows in all.

        Cost: one forward pass per subset and pair, at most ``ROWS`` of them at a time.
        """
        found = np.zeros((len(kept), len(self.pairs)))
        done, total = 0, found.size
        for some in self.pairs.of_equal_length(ROWS):
            reference = self._reference(some)
            at_once = max(1, ROWS // len(some))
            for start in range(0, len(kept), at_once):
                subsets = kept[start : start + at_once]
                found[start : start + at_once, some] = self._run(some, subsets, reference)
                done += len(subsets) * len(some)
                if progress is not None:
                    progress(done, total)
        return found

    def _run(
        self, some: Int[np.ndarray, " pair"], subsets: Bool[np.ndarray, "subset part"], reference: Mapping[int, Tensor]
    ) -> Float[np.ndarray, "subset pair"]:
        rows = np.tile(some, len(subsets))
        shown = [self.pairs.clean[i] for i in rows]
        edits = [
            edit for i, place in enumerate(self.places) for edit in _replace(place, subsets, reference[i], len(some))
        ]
        m = self.model.measure(shown, self.pairs.metric(rows), interventions=edits)
        return m.cpu().double().numpy().reshape(len(subsets), len(some))

    def _reference(self, some: Int[np.ndarray, " pair"]) -> dict[int, Float[Tensor, "pair position unit"]]:
        """Return each place's values that replace those of parts outside, for some pairs of one length."""
        if self.means is not None:
            length = len(self.pairs.clean[int(some[0])])
            if length not in self.means:
                raise PatchclampError(
                    expected="means over pairs of every length that is measured",
                    got=f"none of {length} tokens",
                    remedy="Leave those pairs out, or take the corrupted prompts.",
                )
            return {i: mean.expand(len(some), -1, -1) for i, mean in self.means[length].items()}
        return self._recorded([self.pairs.corrupted[i] for i in some])

    def _recorded(self, shown: Sequence[Any]) -> dict[int, Float[Tensor, "prompt position unit"]]:
        paths = [place.site.path for place in self.places]
        recording = self.model.run(shown, record=paths, logits=False).recording
        return {
            i: place.values(recording[place.site.path]).unflatten(0, (len(shown), -1))
            for i, place in enumerate(self.places)
        }

    def _averaged(self, means: PairSet) -> dict[int, dict[int, Float[Tensor, "1 position unit"]]]:
        """Return means by length, over clean and corrupted prompts; only one batch is held at a time."""
        sums: dict[int, dict[int, Tensor]] = {}
        counts: dict[int, int] = {}
        for some in means.of_equal_length(ROWS // 2):
            shown = [x for i in some for x in (means.clean[i], means.corrupted[i])]
            length = len(shown[0])
            own = sums.setdefault(length, {})
            for i, values in self._recorded(shown).items():
                total = values.sum(0, keepdim=True)
                own[i] = own[i] + total if i in own else total
            counts[length] = counts.get(length, 0) + len(shown)
        return {
            length: {i: total / counts[length] for i, total in own.items()} for length, own in sums.items()
        }


def _places(model: LanguageModel, parts: Sequence[Part]) -> list[_Place]:
    """Sort parts by the site where they lie."""
    keys: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for i, part in enumerate(parts):
        key = UnitKey.parse(str(part))
        keys.setdefault((key.site, key.basis), []).append((i, key.index))
    places = []
    for (path, basis), members in keys.items():
        site, own = model.site(path), model.basis_at(path, basis)
        numbers, units = zip(*members, strict=True)
        places.append(_Place(site, own, np.array(numbers), Units(own, site, tuple(units))))
    return places


def _replace(
    place: _Place, subsets: Bool[np.ndarray, "subset part"], reference: Tensor, n_pairs: int
) -> Iterator[Intervention]:
    """Yield the intervention that puts a place's reference where parts are not kept, none where all are kept."""
    outside = place.outside(subsets, reference.shape[-1]).to(reference.device)
    if not outside.any():
        return

    def fn(x: Tensor) -> Tensor:
        values = place.values(x).unflatten(0, (len(subsets), n_pairs, -1))
        if not place.featured:
            return torch.where(outside[:, None, None], reference.to(x.dtype), values).reshape(x.shape)
        change = torch.where(outside[:, None, None], reference.to(x.dtype) - values, 0.0).flatten(0, 2)
        return x + change @ torch.as_tensor(place.basis.decoder, dtype=x.dtype, device=x.device)

    yield Intervention(place.site.path, "call", fn=fn)
