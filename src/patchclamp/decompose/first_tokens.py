"""How much of a site's size, and of what a basis explains, lies in the first token of each stimulus."""

from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Bool, Float

from patchclamp.core.basis import Basis
from patchclamp.decompose.activation_store import ActivationSource
from patchclamp.subjects.bases import reads_of, reconstruct

MOST = 8192
"""Tokens that are measured, at most."""
AT_ONCE = 1024
"""Tokens whose units are in memory at a time."""


def measure_first_tokens(
    source: ActivationSource, bases: Mapping[str, Basis], *, most: int = MOST
) -> dict[str, dict[str, float | None]]:
    """Measure the share of a site's norm and error in first tokens, whose norm can be a hundred times that of others.

    Args:
        source: activations whose stimuli are known; of arrays nothing is returned.
        bases: site that is written to its basis.
        most: tokens to measure, from the beginning.

    Returns:
        dict: site to ``tokens`` (share of tokens that come first), ``norm`` (their share of Σ ‖x‖²), ``unexplained``
            (Σ ‖x − x̂‖² / Σ ‖x − x̄‖²) and ``without`` (the same over the other tokens, with their own mean).

    Cost: forward passes over ``most`` tokens, and their units.
    """
    sites = list(dict.fromkeys(site for path in bases for site in (path, *reads_of(bases, path))))
    parts: dict[str, list[torch.Tensor]] = {site: [] for site in sites}
    masks: list[torch.Tensor] = []
    n = 0
    for rows, first in zip(source.chunks(sites, 0), source.first_tokens(), strict=False):
        masks.append(first)
        for site in sites:
            parts[site].append(rows[site].cpu())
        n += len(first)
        if n >= most:
            break
    if not n:
        return {}
    first = torch.cat(masks)
    values = {site: torch.cat(parts.pop(site)) for site in sites}
    measures: dict[str, dict[str, float | None]] = {}
    for path in bases:
        y, others = values[path], ~first
        blocks = range(0, len(y), AT_ONCE)
        error = torch.cat([_errors(bases, path, values, k) for k in blocks])
        size = torch.cat([y[k : k + AT_ONCE].double().square().sum(1) for k in blocks])
        measures[path] = {
            "tokens": float(first.double().mean()),
            "norm": float(size[first].sum() / size.sum().clamp(min=1e-12)),
            "unexplained": _unexplained_variance(y, error, torch.ones_like(first)),
            "without": _unexplained_variance(y, error, others),
        }
    return measures


@torch.no_grad()
def _errors(
    bases: Mapping[str, Basis], path: str, values: Mapping[str, torch.Tensor], first: int
) -> Float[torch.Tensor, " some"]:
    """Return ‖x − x̂‖² of the tokens from one on."""
    some = {site: rows[first : first + AT_ONCE] for site, rows in values.items()}
    return (some[path] - reconstruct(bases, path, some)).double().square().sum(1)


def _unexplained_variance(
    y: Float[torch.Tensor, "token width"], error: Float[torch.Tensor, " token"], which: Bool[torch.Tensor, " token"]
) -> float | None:
    """Return Σ error / Σ ‖x − x̄‖² over some tokens, a block at a time: a copy in double precision is twice as large."""

    def blocks() -> Iterator[torch.Tensor]:
        for k in range(0, len(y), AT_ONCE):
            yield y[k : k + AT_ONCE][which[k : k + AT_ONCE]].double()

    n = int(which.sum())
    mean = sum((part.sum(0) for part in blocks()), torch.zeros(y.shape[1], dtype=torch.float64)) / max(n, 1)
    variance = sum(float((part - mean).square().sum()) for part in blocks())
    return float(error[which].sum() / variance) if variance > 0 else None
