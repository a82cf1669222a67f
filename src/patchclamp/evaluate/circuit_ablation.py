"""Ablate a circuit or its complement by interchange: m of pairs with some parts kept and all others replaced."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float

from patchclamp.ablate import Baseline, Cases, EdgeSets, UnitSets, measure_sets
from patchclamp.core.keys import UnitIndex
from patchclamp.core.scores import Scores
from patchclamp.core.subject import Progress
from patchclamp.core.unit import UnitKey
from patchclamp.subjects.cases import ReadTask
from patchclamp.subjects.model import Model
from patchclamp.subjects.network import Network
from patchclamp.subjects.plain import model_of
from patchclamp.subjects.residual_edges import require_edges


@dataclass(frozen=True, eq=False)
class Interchange:
    """Keep some parts of a circuit, and replace its others at every position at once.

    In one forward pass, replaced parts take their activations of the baseline run, and kept parts compute their own
    from what reaches them; see ``measure_sets``. What the model has beside the parts is never replaced.

    Args:
        model: the subject.
        circuit: the circuit whose parts they are.
        cases: prompts, and m of each.
        baseline: r.
    """

    model: Model
    circuit: Scores
    cases: Cases
    baseline: Baseline

    @cached_property
    def _units(self) -> UnitIndex | list[UnitKey]:
        parts = self.circuit.index
        return parts if isinstance(parts, UnitIndex) else [UnitKey.parse(str(part)) for part in parts]

    def sets(self, kept: Bool[np.ndarray, "subset part"]) -> UnitSets | EdgeSets:
        """Return the sets of replaced parts for subsets of kept ones."""
        return EdgeSets(self.circuit.parts, ~kept) if self.circuit.of_edges else UnitSets(self._units, ~kept)

    @property
    def memory_bytes(self) -> int:
        """Estimate of what one batch holds."""
        return self.sets(np.ones((1, len(self.circuit)), dtype=bool)).memory_bytes(self.model, self.cases)

    def measure(
        self, kept: Bool[np.ndarray, "subset part"], *, progress: Progress | None = None
    ) -> Float[np.ndarray, "subset pair"]:
        """Measure m of every pair with only some parts kept.

        Args:
            kept: subsets of the parts.
            progress: called with rows done and rows in all.

        Returns:
            ``(subset, pair)`` m.

        Cost: one forward pass per subset and pair, of edges in pieces; see ``measure_sets``.
        """
        return measure_sets(self.model, self.cases, self.sets(kept), self.baseline, progress=progress).T


def interchange(model: Network, circuit: Scores, cases: ReadTask, *, means: ReadTask | None = None) -> Interchange:
    """Prepare the ablation of a circuit's parts on pairs; nothing is run.

    Args:
        model: the subject.
        circuit: of units or of edges.
        cases: prompts with counterparts.
        means: pairs over which the baseline is the mean, position by position, over clean and corrupted prompts; the
            default baseline is each pair's corrupted prompt.

    Returns:
        Interchange: ``measure`` runs it.

    Raises:
        PatchclampError: parts that the model has not, or means of features.
        CannotIntervene: edges of a model that has none.

    Source: interchange interventions, 2301.04709; ablation to a counterpart as in 2403.19647.

    Example:
        >>> from patchclamp.core.task import Task
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> task = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
        >>> cases = cat.read(task)
        >>> from patchclamp.core.keys import UnitList
        >>> circuit = Scores(UnitList(["blocks.0.mlp.act/neurons/7"]), np.ones(1))
        >>> interchange(cat, circuit, cases).measure(np.array([[True], [False]])).round(1).tolist()
        [[4.0], [-4.0]]
    """
    laid = require_edges(model) if circuit.of_edges else model_of(model, cases)
    shown = cases.counterpart if means is None else (*means.clean, *means.counterpart)
    clean = Cases(cases.clean, cases.metrics)
    ablation = Interchange(laid, circuit, clean, Baseline("corrupted" if means is None else "mean", shown=tuple(shown)))
    ablation.sets(np.ones((1, len(circuit)), dtype=bool)).check(laid, clean, ablation.baseline)
    return ablation
