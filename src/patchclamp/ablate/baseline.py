"""The baseline r: the reference input's activations, which units are compared with and replaced by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchclamp.core.arguments import checked
from patchclamp.core.basis import Basis
from patchclamp.core.checks import same_subject
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.intervention import Intervention, Source, Values
from patchclamp.core.recording import Recording, as_numpy
from patchclamp.core.stimulus import Shown
from patchclamp.subjects.bases import encode
from patchclamp.subjects.cases import ROWS
from patchclamp.subjects.model import Model

Kind = Literal["zero", "mean", "corrupted"]


@checked
@dataclass(frozen=True, eq=False)
class Baseline:
    """Hold the baseline r of units: zero, a mean over a text, or activations under a corrupted prompt.

    Attribution compares activations with it, and ablation puts it in their place: prediction and measurement are of one
    change.

    Args:
        kind: ``zero``, ``mean`` or ``corrupted``.
        values: a survey (or anything with means) for ``mean``, the corrupted run for ``corrupted``.
        stimulus: which of the corrupted runs; None for all of them, row by row beside as many clean ones.
        shown: stimuli instead of values, run where they are needed: for ``corrupted`` the counterpart of every case,
            for ``mean`` those whose mean is taken, position by position, among stimuli of one length.

    Example:
        >>> Baseline("zero").replace_site("blocks.0.mlp.act").operation
        'ablate'
    """

    kind: Kind
    values: Values | None = None
    stimulus: int | None = 0
    shown: tuple[Shown, ...] = ()

    def __post_init__(self) -> None:
        n_given = (self.values is not None) + bool(self.shown)
        if self.kind not in ("zero", "mean", "corrupted") or n_given != (self.kind != "zero"):
            raise PatchclampError(
                expected="zero without values, or mean or corrupted with them",
                got=f"{self.kind!r} {'without' if not n_given else 'with'} values",
                remedy="Give a survey for mean, a recording of the corrupted prompt for corrupted.",
            )

    def rows(
        self, model: Model, paths: Sequence[str], some: Int[np.ndarray, " some"], n: int
    ) -> dict[str, Float[Tensor, "..."]]:
        """Return the baseline's values at sites, for some cases of one length.

        Args:
            model: the subject.
            paths: sites.
            some: places of the cases.
            n: their length.

        Returns:
            By site ``(position, width)`` where all cases take the same, else ``(case, position, width)``.

        Raises:
            PatchclampError: no mean over stimuli of this length.

        Cost: a forward pass per case where counterparts are shown; of a mean, one per stimulus at the first call.
        """
        if self.shown and self.kind == "corrupted":
            recording = model.run([self.shown[int(i)] for i in some], record=list(paths), logits=False).recording
            return {path: recording[path].unflatten(0, (len(some), -1)) for path in paths}
        if self.shown:
            return {path: self._mean(model, path, paths, n) for path in paths}
        values = {}
        for path in paths:
            site = model.site(path)
            shape = (site.n_places or n, site.width or site.n_heads * n)
            if self.stimulus is None and isinstance(self.values, Recording):
                values[path] = self.values[path].unflatten(0, (len(self.values.stimuli), -1))[torch.from_numpy(some)]
            else:
                values[path] = self.at(path, torch.zeros(1, dtype=model.dtype, device=model.device).expand(shape))
        return values

    def _mean(self, model: Model, path: str, paths: Sequence[str], n: int) -> Float[Tensor, "position width"]:
        missing = [one for one in paths if (one, n) not in self._means]
        if missing:
            own = [x for x in self.shown if len(x) == n]
            if not own:
                raise PatchclampError(
                    expected=f"stimuli of {n} tokens among those whose mean is taken",
                    got=", ".join(str(k) for k in sorted({len(x) for x in self.shown})) + " tokens",
                    remedy="Take means over stimuli as long, or the counterparts as the baseline.",
                )
            sums: dict[str, Tensor] = {}
            for some in (own[k : k + ROWS] for k in range(0, len(own), ROWS)):
                recording = model.run(some, record=missing, logits=False).recording
                for one in missing:
                    total = recording[one].unflatten(0, (len(some), -1)).double().sum(0)
                    sums[one] = sums[one] + total if one in sums else total
            self._means.update({(one, n): (total / len(own)).to(model.dtype) for one, total in sums.items()})
        return self._means[path, n]

    @cached_property
    def _means(self) -> dict[tuple[str, int], Tensor]:
        return {}

    def at(self, site: str, like: Tensor) -> Float[Tensor, "position width"]:
        """Return the baseline's values beside the clean run's, in the same type and on the same device."""
        if self.values is None:
            return torch.zeros_like(like)
        if self.stimulus is None and isinstance(self.values, Recording):
            values = self.values[site]
        else:
            values = self.values.mean(site) if self.kind == "mean" else self.values.of(site, self.stimulus or 0)
        if isinstance(values, np.ndarray):
            values = as_numpy(values).astype(np.float32)
        return torch.as_tensor(values, dtype=like.dtype, device=like.device).expand_as(like)

    def features(self, basis: Basis, site: str, x: Float[Tensor, "position width"]) -> Float[Tensor, "position unit"]:
        """Return r of the features at a site: zeros, or those of the corrupted run.

        A survey holds no means of features, and the features of a mean are something else: ``attribute_nodes`` refuses
        them.

        Args:
            basis: directions.
            site: its path.
            x: ``(position, width)`` activations beside which r stands.

        Returns:
            ``(position, unit)``.

        Example:
            >>> basis = Basis("d", "directions", decoder=np.eye(2, dtype=np.float32))
            >>> Baseline("zero").features(basis, "x", torch.ones(3, 2)).shape
            torch.Size([3, 2])
        """
        if self.values is None:
            return torch.zeros(len(x), basis.n_units, dtype=x.dtype, device=x.device)
        return encode(basis, self.at(site, x))

    def replace_site(self, site: str, basis: str = "neurons", *, row: int = 0) -> Intervention:
        """Return the intervention that puts the baseline in place of a whole site, at every position.

        Of features all are replaced; the error x − x̂, which none of them explains, stays.

        Args:
            site: its path.
            basis: whose units are replaced; the default is every column.
            row: which of the corrupted runs, where the baseline is all of them.

        Returns:
            Intervention: ``ablate`` for zero and means, ``patch`` for a corrupted run.

        Example:
            >>> Baseline("zero").replace_site("blocks.0.attn.z", "heads").basis
            'heads'
        """
        if self.values is None:
            return Intervention(site, "ablate", basis=basis)
        source = Source(self.values, stimulus=row if self.stimulus is None else self.stimulus)
        if self.kind == "mean":
            return Intervention(site, "ablate", basis=basis, mode="mean", source=source)
        return Intervention(site, "patch", basis=basis, source=source)


@checked
def check_means(model: Model, survey: Any, sites: Sequence[str]) -> None:
    """Refuse a survey of another model, or one that lacks a site.

    Args:
        model: the subject.
        survey: what holds the means.
        sites: paths that need one.

    Raises:
        PatchclampError: what is missing and how to survey it.
        Damaged: a piece is not what was committed.
    """
    if not hasattr(survey, "mean") or not hasattr(survey, "sites"):
        raise PatchclampError(
            expected="a survey or a recording, whose means are taken",
            got=type(survey).__name__,
            remedy="Open a survey's folder with pc.StoredSurvey.",
        )
    damaged = survey.bundle.find_damaged() if hasattr(survey, "bundle") else []
    if damaged:
        raise Damaged(
            expected="a survey as it was committed",
            got=f"damaged or missing: {', '.join(damaged)}",
            remedy="`patchclamp info` checks every piece; survey the text again.",
        )
    same_subject(model, survey, what="a survey", remedy="Survey this model.")
    held: Mapping[str, Any] = survey.sites
    lacking = [site for site in sites if site not in held]
    if lacking:
        raise PatchclampError(
            expected=f"a survey of all {len(sites)} sites that are scored",
            got=f"one without {', '.join(lacking[:3])}{' …' if len(lacking) > 3 else ''}",
            remedy="patchclamp survey MODEL --inputs FILE --sites 'blocks.*.mlp.act,blocks.*.attn.z' --out DIR",
        )
    for site in sites:
        mean, width = as_numpy(survey.mean(site)), model.site(site).width
        if mean.shape != (width,) or not np.isfinite(mean.astype(np.float64)).all():
            raise PatchclampError(
                expected=f"{width} finite means at {site}",
                got=f"an array of shape {mean.shape}" if mean.shape != (width,) else "some that are not finite",
                remedy="Survey this model, in float32 if values overflow.",
            )
