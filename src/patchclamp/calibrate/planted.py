"""Which methods of attribution find the planted units, and which miss them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from patchclamp import organisms
from patchclamp.attribute import attribute_nodes
from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.method_index import list_names
from patchclamp.core.stats import Interval, mean_interval, pearson
from patchclamp.core.subject import Progress
from patchclamp.core.unit import UnitKey

ORDER = list_names("attribute", "unit")


@checked
@dataclass(frozen=True)
class PlantedResult:
    """What one method found in one organism.

    Args:
        organism: its name.
        method: short name, a card of the room attribute; ``random`` is a random order, ``oracle`` the truth.
        true: number of planted units.
        found: how many of them stand among as many of the highest scores, by magnitude: precision and recall in one.
        worst: rank of the planted unit that stands lowest, from 1.
        nodes: all units at all positions.
        pearson: r of scores with exact replacement; nan where one of them is constant.
        seconds: to compute the scores.
    """

    organism: str
    method: str
    true: int
    found: float
    worst: float
    nodes: int
    pearson: float
    seconds: float


@checked
def calibrate_circuits(
    names: Sequence[str] | None = None, *, methods: Sequence[str] = ORDER, progress: Progress | None = None
) -> list[PlantedResult]:
    """Score the units of planted circuits by every method, and count the planted ones among the highest.

    Every organism gets its card's task, with its card's baseline. The random row is the
    expectation over all orders; the oracle row is the truth.

    Args:
        names: organisms (default: all).
        methods: a card of the room attribute.
        progress: called with organisms done and organisms in all.

    Returns:
        list[Finding]: per organism the methods in order, then ``random`` and ``oracle``.

    Raises:
        PatchclampError: no such organism or method.

    Cost: about a second per organism, most of it exact replacement.

    Example:
        >>> [(f.method, f.found) for f in calibrate_circuits(["cat"], methods=["relp", "activation"])][:2]
        [('relp', 2.0), ('activation', 0.0)]
    """
    unknown = [method for method in methods if method not in ORDER]
    if unknown:
        raise PatchclampError(
            expected=f"methods among {', '.join(ORDER)}", got=", ".join(unknown), remedy="Choose some of these."
        )
    chosen = list(dict.fromkeys(names)) if names is not None else list(organisms.planted.names())
    for name in chosen:  # before anything is computed
        if not organisms.card(name)["true"]:
            raise PatchclampError(
                expected="organisms with a planted circuit",
                got=name,
                remedy="Leave it out: its circuits are not known.",
            )
    results: list[PlantedResult] = []
    for i, name in enumerate(chosen):
        results += _calibrate_circuit(name, methods)
        if progress is not None:
            progress(i + 1, len(chosen))
    return results


@checked
def summarise(found: Sequence[PlantedResult]) -> dict[str, tuple[float, Interval]]:
    """Return, for each method, the mean share of planted units that it found, with a 95 % interval over circuits.

    A circuit in two architectures counts once, with the mean of both: they are no independent trials.
    """
    shares: dict[str, dict[str, list[float]]] = {}
    for f in found:
        circuit = organisms.card(f.organism)["circuit"]
        shares.setdefault(f.method, {}).setdefault(circuit, []).append(f.found / f.true)
    means = {method: np.array([np.mean(x) for x in by.values()]) for method, by in shares.items()}
    return {method: (float(x.mean()), mean_interval(x, seed=0)) for method, x in means.items()}


def _calibrate_circuit(name: str, methods: Sequence[str]) -> list[PlantedResult]:
    card = organisms.card(name)
    model = organisms.build(name)
    corrupt = card["corrupt"] if card["baseline"] == "corrupted" else None
    case = model.read_case(card["prompt"], (card["target"],), (card["contrast"],), counterpart=corrupt)
    asked: dict[str, Any] = {"metric": case.metric, "corrupted": case.counterpart}
    exact = attribute_nodes(model, case.clean, method="activation_patching", **asked)
    planted = [exact.units.place(UnitKey.parse(key)) for key in card["true"]]
    scored = {}
    for method in methods:
        began = time.perf_counter()
        scores = attribute_nodes(model, case.clean, method=method, **asked).values
        scored[method] = scores, time.perf_counter() - began
    return count_found(name, planted, exact.values, scored)


def count_found(
    name: str,
    planted: Sequence[int],
    exact: Float[np.ndarray, " part"],
    scored: Mapping[str, tuple[Float[np.ndarray, " part"], float]],
) -> list[PlantedResult]:
    """Count the planted parts among as many highest of every method, and say what a random and a perfect order find.

    Args:
        name: the organism.
        planted: places of the planted parts.
        exact: what replacing each part does.
        scored: method to scores and seconds.

    Returns:
        list[PlantedResult]: the methods in order, then ``random`` and ``oracle``.
    """
    k, n = len(planted), len(exact)
    results = []
    for method, (scores, seconds) in scored.items():
        own = ranks(np.abs(scores))[list(planted)]
        results.append(
            PlantedResult(
                name, method, k, float((own <= k).sum()), float(own.max()), n, pearson(scores, exact), seconds
            )
        )
    results.append(PlantedResult(name, "random", k, k * k / n, k * (n + 1) / (k + 1), n, 0.0, 0.0))
    return [*results, PlantedResult(name, "oracle", k, float(k), float(k), n, float("nan"), 0.0)]


def ranks(sizes: np.ndarray) -> np.ndarray:
    """Return ranks from 1 at the largest; a tie counts against every member, so that equal scores find nothing."""
    return len(sizes) - np.searchsorted(np.sort(sizes), sizes - 1e-12)
