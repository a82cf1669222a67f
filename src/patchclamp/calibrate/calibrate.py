"""Calibrate methods of attribution: on planted circuits, and in trained language organisms."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from patchclamp import organisms
from patchclamp.calibrate.planted import PlantedResult, calibrate_circuits, summarise
from patchclamp.calibrate.planted_edges import ablate_pair, calibrate_edges
from patchclamp.calibrate.trained import MAIN_TASKS, PAIRS, Agreement, calibrate_tasks, check_tasks
from patchclamp.core.arguments import Natural, checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.stats import Interval
from patchclamp.core.subject import Progress
from patchclamp.organisms import language


@checked
@dataclass(frozen=True)
class Calibration:
    """Say which methods found what is planted, and how well predictions held in trained networks.

    Args:
        findings: units, by organism and method.
        edges: edges likewise.
        joint: what units that back each other up do alone and together, by organism.
        holdings: predictions compared with replacements, by trained organism, task and method.
    """

    findings: tuple[PlantedResult, ...] = ()
    edges: tuple[PlantedResult, ...] = ()
    joint: tuple[Mapping[str, Any], ...] = ()
    holdings: tuple[Agreement, ...] = ()

    @property
    def summary(self) -> dict[str, tuple[float, Interval]]:
        """Mean share of planted units that each method found, with its interval over organisms."""
        return summarise(list(self.findings))

    @property
    def edges_summary(self) -> dict[str, tuple[float, Interval]]:
        """The same of edges."""
        return summarise(list(self.edges))

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON-ready data; what was not calibrated is left out."""
        document: dict[str, Any] = {}
        if self.findings:
            document |= {
                "findings": [asdict(one) for one in self.findings],
                "summary": _means(self.summary),
                "edges": [asdict(one) for one in self.edges],
                "edges_summary": _means(self.edges_summary),
                "joint": [dict(one) for one in self.joint],
            }
        if self.holdings:
            document["tasks"] = [asdict(one) for one in self.holdings]
        return document


@checked
def calibrate(
    names: Sequence[str] | None = None,
    *,
    tasks: Sequence[str] | None = None,
    pairs: int | None = None,
    seed: Natural = 0,
    progress: Progress | None = None,
) -> Calibration:
    """Score planted circuits by every method, and hold predictions against replacements in language organisms.

    Args:
        names: organisms; by default every planted circuit.
        tasks: of language organisms; by default the seven main ones.
        pairs: of language organisms, held-out pairs per task; by default 64.
        seed: of language organisms, of pairs and draws.
        progress: called with what is done and what there is in all: organisms for units, for edges, then pairs.

    Returns:
        Calibration: which methods found what is planted; how well predictions held.

    Raises:
        PatchclampError: an empty list, an organism that is neither planted nor a language organism; tasks or pairs
            without the latter.

    Source: 2508.21258 for predictions compared with replacements; the planted circuits are ours.

    Cost: seconds per planted circuit; of a language organism 84 forward passes per pair, task and method.

    Example:
        >>> found = calibrate(["neuron-gpt2"])
        >>> found.summary["activation_patching"][0]
        1.0
    """
    for what, given in (("organism", names), ("task", tasks)):
        if given is not None and not given:
            raise PatchclampError(
                expected=f"at least one {what}",
                got="none",
                remedy=f"Name some, or leave them out for the default {what}s.",
            )
    listed = [name.removeprefix("organism:") for name in names or ()]
    trained = [name for name in listed if name in language.names()]
    planted = [name for name in listed if name not in trained]
    if not trained and (tasks is not None or pairs is not None):
        raise PatchclampError(
            expected=f"tasks and pairs with {' or '.join(language.names())}",
            got=", ".join(listed) or "no organism",
            remedy="Name a language organism, or leave them out.",
        )
    chosen = MAIN_TASKS if tasks is None else list(tasks)
    n_pairs = PAIRS if pairs is None else pairs
    check_tasks(chosen, n_pairs)
    strange = [name for name in planted if name not in organisms.planted.names()]
    if strange:
        raise PatchclampError(
            expected="organisms with a planted circuit, or language organisms",
            got=", ".join(strange),
            remedy=f"Choose among {', '.join([*organisms.planted.names(), *language.names()])}.",
        )
    findings: Sequence[PlantedResult] = ()
    edges: Sequence[PlantedResult] = ()
    holdings: Sequence[Agreement] = ()
    if planted or not trained:
        findings = calibrate_circuits(planted or None, progress=progress)
        edges = calibrate_edges(planted or None, progress=progress)
    if trained:
        holdings = calibrate_tasks(trained, tasks=chosen, pairs=n_pairs, seed=seed, progress=progress)
    together = [found for found in map(ablate_pair, dict.fromkeys(one.organism for one in findings)) if found]
    return Calibration(tuple(findings), tuple(edges), tuple(together), tuple(holdings))


def _means(overall: Mapping[str, tuple[float, Interval]]) -> dict[str, Any]:
    return {method: {"mean": mean, "interval": asdict(interval)} for method, (mean, interval) in overall.items()}
