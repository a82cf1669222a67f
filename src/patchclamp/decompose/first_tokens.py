"""How much of a site's size, and of what a basis explains, lies in the first token of each stimulus."""

from collections.abc import Mapping

import torch
from jaxtyping import Float

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
    values = {site: torch.cat(measures) for site, measures in parts.items()}
    measures: dict[str, dict[str, float | None]] = {}
    for path in bases:
        y = values[path]
        error = torch.cat([_errors(bases, path, values, k) for k in range(0, len(y), AT_ONCE)])
        size = y.double().square().sum(1)
        measures[path] = {
            "tokens": float(first.double().mean()),
            "norm": float(size[first].sum() / size.sum().clamp(min=1e-12)),
            "unexplained": _unexplained_variance(y, error),
            "without": _unexplained_variance(y[~first], error[~first]),
        }
    return measures


@torch.no_grad()
def _errors(
    bases: Mapping[str, Basis], path: str, values: Mapping[str, torch.Tensor], first: int
) -> Float[torch.Tensor, " some"]:
    """Return ‖x − x̂‖² of the tokens from one on."""
    some = {site: rows[first : first + AT_ONCE] for site, rows in values.items()}
    return (some[path] - reconstruct(bases, path, some)).double().square().sum(1)


def _unexplained_variance(y: torch.Tensor, error: torch.Tensor) -> float | None:
    variance = (y.double() - y.double().mean(0)).square().sum() if len(y) else torch.zeros(())
    return float(error.sum() / variance) if variance > 0 else None
