"""What can be done with a subject, as protocols: a method names those that it needs, never a class of models."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

from patchclamp.core.edit import Edit
from patchclamp.core.site import Site
from patchclamp.core.subject import Capabilities, Differentiated, LinearMap, Run
from patchclamp.core.task import Task
from patchclamp.subjects.cases import ReadTask
from patchclamp.subjects.head_circuits import HeadCircuit


@runtime_checkable
class Subject(Protocol):
    """Whatever lies in the rig: it has a name, a hash, and says what it can and cannot do."""

    name: str

    @property
    def hash(self) -> str:
        """Hash of its weights, or of the recording."""

    @property
    def capabilities(self) -> Capabilities:
        """What can be done with it, and why not where it cannot."""


@runtime_checkable
class Records(Subject, Protocol):
    """It can be shown stimuli, and what its sites do can be read."""

    def sites(self) -> list[Site]:
        """List the places that can be recorded, in forward order."""

    def select(self, patterns: str | Sequence[str]) -> list[Site]:
        """Return the sites that paths or patterns name."""

    def run(self, stimuli: Any, *, record: Sequence[str] = (), logits: Any = True, **options: Any) -> Run:
        """Show stimuli and record.

        Returns:
            Run: outputs of every stimulus and the recorded sites.
        """


@runtime_checkable
class Reads(Records, Protocol):
    """It can be shown a task, and a number of its answers measured."""

    def read(self, task: Task, **options: Any) -> ReadTask:
        """Turn every case into what it is shown and a metric; what cannot be read is skipped, with the reason."""

    def measure(self, stimuli: Any, metric: Any, **options: Any) -> Any:
        """Return a metric's value for each stimulus.

        Returns:
            Any: ``(stimulus,)``.
        """


@runtime_checkable
class Intervenes(Records, Protocol):
    """What its sites do can be changed, and a number of its answer measured."""

    def measure(self, stimuli: Any, metric: Any, **options: Any) -> Any:
        """Return a metric's value for each stimulus, with changes.

        Returns:
            Any: ``(stimulus,)``.
        """

    def sweep(self, stimulus: Any, metric: Any, cells: Sequence[Any], **options: Any) -> Any:
        """Return the metric under each of many sets of changes.

        Returns:
            Any: ``(set, stimulus)``.
        """


@runtime_checkable
class Differentiates(Records, Protocol):
    """Gradients of a number of its answer exist at its sites."""

    def differentiate(self, stimuli: Any, metric: Any, sites: Any, **options: Any) -> Differentiated:
        """Return a metric's gradient at sites, and the values there.

        Returns:
            Differentiated: m ``(stimulus,)``, and gradient and value by site, as recordings.
        """


@runtime_checkable
class RelevanceRules(Subject, Protocol):
    """Its blocks have relevance rules that can replace the backward pass."""

    @property
    def rules(self) -> tuple[str, ...]:
        """The rules that it has; none where its family is not known."""


@runtime_checkable
class Trains(Subject, Protocol):
    """Its weights can be trained in place."""

    module: Any

    def forget_hash(self) -> None:
        """Say that weights were changed in place: the hash is computed anew."""


@runtime_checkable
class ReadsText(Subject, Protocol):
    """It is shown text, token by token."""

    def stimuli(self, shown: Any) -> list[Any]:
        """Turn texts into stimuli: ids, and the characters of each."""

    def continuation(self, prompt: Any, answer: str) -> tuple[int, ...]:
        """Return the ids that an answer adds after a prompt."""


@runtime_checkable
class Generates(Subject, Protocol):
    """It continues text."""

    def generate(self, prompt: Any, **options: Any) -> Any:
        """Return continuations."""


@runtime_checkable
class Unembeds(Subject, Protocol):
    """What is written to its stream can be read as logits."""

    @property
    def n_answers(self) -> int:
        """Number of logits."""

    @property
    def special_answers(self) -> frozenset[int]:
        """Logits that stand for no text: those of special tokens."""

    def answer_name(self, index: int) -> str:
        """Return what a logit stands for, as people read it."""

    @property
    def tied_embeddings(self) -> bool:
        """Whether tokens are embedded by the rows that unembed them."""

    def unembedding_rows(self) -> Any:
        """Return the direction that each token is read from, ``(token, d_model)``; None where no weight says it."""

    def unembed(self, values: Any) -> Any:
        """Return the logits of values of the stream."""

    def read_out(self, directions: Any) -> Any:
        """Return what directions of the stream promote: the logits of each, normed by its own size."""


@runtime_checkable
class WritesAndReads(Subject, Protocol):
    """What its neurons write to the stream, and read from it, can be read off the weights."""

    def sites(self) -> list[Site]:
        """List the places that have units, in forward order."""

    def write_directions(self, site: str, units: slice) -> Any:
        """Return what units write to the stream at activation 1, ``(unit, d_model)``."""

    def read_directions(self, site: str, units: slice, branch: str = "mlp.pre") -> Any:
        """Return the direction of the stream that each unit reads, ``(unit, d_model)``.

        Returns:
            Any: of the units named, in their order.
        """


@runtime_checkable
class FactorsHeads(Subject, Protocol):
    """What its attention heads read and write can be read off the weights."""

    def sites(self) -> list[Site]:
        """List the places that have units, in forward order."""

    def head_circuits(self, site: str) -> list[HeadCircuit]:
        """Return the circuit W_V W_O of every head of a block."""


@runtime_checkable
class Classifies(Subject, Protocol):
    """It answers with one of some named classes."""

    def class_index(self, answer: Any) -> int:
        """Return the number of a class."""


@runtime_checkable
class Weights(Subject, Protocol):
    """Its parameters can be read, and changed for a while."""

    def parameters(self) -> Mapping[str, Any]:
        """Return the parameters by name."""

    def reader(self, site: str) -> LinearMap:
        """Return which linear map reads a site."""

    def edited(self, edit: Edit) -> AbstractContextManager[None]:
        """Return a context in which an edit is in force; after it every parameter is as before, to the bit."""
