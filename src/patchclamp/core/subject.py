"""What lies in the rig, seen by the verbs through one protocol."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from patchclamp.core.arguments import shorten
from patchclamp.core.errors import PatchclampError
from patchclamp.core.intervention import Intervention
from patchclamp.core.metric import Metric
from patchclamp.core.recording import Recording
from patchclamp.core.site import Site
from patchclamp.core.stimulus import Shown
from patchclamp.core.table import Table, Tabular

Progress = Callable[[int, int], None]
"""Called with how much is done, and how much there is in all."""
Keep = Callable[[str, Callable[[], Mapping[str, np.ndarray]]], Mapping[str, np.ndarray]]
"""Return the arrays that a name stands for: those kept from an interrupted run, or what the function computes."""


def keep_nothing(_name: str, compute: Callable[[], Mapping[str, np.ndarray]]) -> Mapping[str, np.ndarray]:
    """Compute, and keep nothing for another run."""
    return compute()


@dataclass(frozen=True)
class Capabilities:
    """Say what can be done with a subject, and why not where it cannot.

    Args:
        intervene: activity can be changed.
        differentiate: gradients exist.
        generate: it continues text.
        attention: patterns, queries and keys can be read.
        missing: reason for each capability that is False, by name.
    """

    intervene: bool = True
    differentiate: bool = True
    generate: bool = False
    attention: bool = False
    missing: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class LinearMap:
    """Name the weights of a linear map y = W x + b.

    Args:
        parameter: name of W.
        transposed: W is stored as ``(in, out)``, as GPT-2's are, instead of ``(out, in)``.
    """

    parameter: str
    transposed: bool = False


@dataclass(frozen=True, eq=False, repr=False)
class Run(Tabular):
    """What one run gave.

    Args:
        stimuli: what was shown.
        logits: ``(stimulus, position, token)`` at logical positions (columns past a stimulus' end are 0), or at the
            asked positions only; None where none were asked. A generic module's output stands here as it came.
        recording: values at the recorded sites, after interventions.
    """

    stimuli: tuple[Shown, ...]
    logits: Any
    recording: Recording

    def table(self, top: int | None = None) -> Table:
        """Return the recorded sites as a table."""
        shape = getattr(self.logits, "shape", None)
        logits = "no logits" if self.logits is None else "an output"
        logits = logits if shape is None else f"logits {' × '.join(map(str, shape))}"
        return replace(self.recording.table(top), title=f"{logits}; {self.recording.table(0).title}")


@dataclass(frozen=True, eq=False)
class Differentiated:
    """A metric, the values at some sites and the metric's gradient with respect to each.

    Args:
        metric: ``(stimulus,)`` values of the metric.
        values: activations.
        gradients: dm/dvalue at the same sites, rows and columns.
    """

    metric: Any
    values: Recording
    gradients: Recording


@runtime_checkable
class Subject(Protocol):
    """A network or a recorded brain: list its sites, run it, change it, differentiate it."""

    name: str
    hash: str

    @property
    def capabilities(self) -> Capabilities:
        """What can be done with it."""

    def sites(self) -> list[Site]:
        """List the places that can be recorded, in forward order."""

    def run(
        self,
        stimuli: Any,
        *,
        record: Sequence[str] = (),
        interventions: Sequence[Intervention] = (),
        logits: Any = True,
    ) -> Run:
        """Show stimuli, with changes, and record.

        Returns:
            Run: outputs of every stimulus and the recorded sites.
        """

    def differentiate(
        self, stimuli: Any, metric: Metric, sites: Sequence[str], *, interventions: Sequence[Intervention] = ()
    ) -> Differentiated:
        """Return a metric's gradient at sites.

        Returns:
            Differentiated: metric, gradients and values, one row per stimulus.
        """


_CAPABILITY: Mapping[str, str] = {
    "Intervenes": "intervene",
    "Differentiates": "differentiate",
    "RelevanceRules": "differentiate",
    "Generates": "generate",
}
"""Protocol → the capability that a subject which has its methods may still lack, such as gradients through 8-bit
weights."""


def refuse_no_subject(subject: Any, protocol: type, job: str) -> None:
    """Refuse what is no subject of a kind: None, a name, a class, a recording, a bare module.

    Args:
        subject: what was given.
        protocol: one of ``subjects.protocols``.
        job: what it is wanted for, in words.

    Raises:
        PatchclampError: says what it lacks.
    """
    if reason := reason_lacking(subject, protocol):
        name = getattr(subject, "name", None)
        raise PatchclampError(
            expected=f"a subject {job}",
            got=f"{name if isinstance(name, str) else shorten(subject)}: {reason}",
            remedy="load(NAME) gives a model; wrap(module, inputs) gives a network of your own.",
        )


def reason_lacking(subject: Any, protocol: type) -> str:
    """Return why a subject does not keep a protocol, in words; empty where it does.

    Args:
        subject: what lies in the rig.
        protocol: one of ``subjects.protocols``.
    """
    if isinstance(subject, type):
        return "it is a class, and no object of one"
    members = [name for name in (*vars(protocol), *vars(protocol).get("__annotations__", {})) if name[0] != "_"]
    absent = [name for name in members if not hasattr(subject, name)]
    if absent:
        return f"it has no {absent[0].replace('_', ' ')}"
    if protocol.__name__ == "RelevanceRules" and not subject.rules:
        return "no relevance rules are derived for it"
    missing = dict(getattr(getattr(subject, "capabilities", None), "missing", ()))
    return str(missing.get(_CAPABILITY.get(protocol.__name__, ""), ""))
