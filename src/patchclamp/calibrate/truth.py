"""What is known of an organism, in the form in which a method's noun can be compared with it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from patchclamp.core.exemplars import Exemplars
from patchclamp.core.task import Task
from patchclamp.core.training import Training


@dataclass(frozen=True)
class PlantedUnits:
    """Name the planted units.

    Args:
        effects: key → what m loses when it alone is replaced.
    """

    effects: Mapping[str, float]


@dataclass(frozen=True)
class PlantedWords:
    """Name the planted neurons and heads by what they say.

    Args:
        words: key of a unit, without its position → the answer that it gives.
    """

    words: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class PlantedFiring:
    """Hold windows that no description was made from, and name the planted units whose firing is described.

    Args:
        units: their keys, without positions.
        test: windows in which the units of their site fire and do not.
    """

    units: Sequence[str]
    test: Exemplars


@dataclass(frozen=True)
class PlantedEdges:
    """Name the planted edges, as coarse as they are known.

    Args:
        edges: writer and reader of each.
        fold: writer and reader, as keys name them → as the truth names them.
    """

    edges: Sequence[tuple[str, str]]
    fold: Callable[[str, str], tuple[str, str]]


@dataclass(frozen=True)
class Regions:
    """Say that nothing is planted in a picture: whether an order of regions is right is measured."""


@dataclass(frozen=True, eq=False)
class ReadTargets:
    """Say which targets can be predicted, and what knows the truth predicts of them.

    Args:
        readable: which targets.
        predicted: what is predicted by what knows the truth.
    """

    readable: Bool[np.ndarray, " target"]
    predicted: Float[np.ndarray, "row target"]


@dataclass(frozen=True, eq=False)
class PlantedDirections:
    """Hold the directions that activity is made of.

    Args:
        directions: features × width, rows of length 1.
    """

    directions: Float[np.ndarray, "feature width"]


@dataclass(frozen=True, eq=False)
class LabelledText:
    """Hold texts that no direction was found on.

    Args:
        wanted: the label that a direction moves towards.
        held_out: labelled texts.
        openings: what generated text begins with; it says nothing of the label.
        started: what it begins with where the label is given away.
        read: a continuation → its label.
    """

    wanted: str
    held_out: Task
    openings: Task
    started: Task
    read: Callable[[str], str]


@dataclass(frozen=True, eq=False)
class RewrittenFact:
    """Hold prompts for a changed fact, and for facts that should stay.

    Args:
        paraphrases: of the fact.
        others: about other things.
    """

    paraphrases: Task
    others: Task


@dataclass(frozen=True)
class PlainTraining:
    """Say what plain training gets of a stream whose every task can be learnt whole.

    Args:
        training: its accuracies.
    """

    training: Training


@dataclass(frozen=True)
class Explained:
    """Say that a benchmark is given scores or descriptions of a method, which the same ones shuffled must not reach.

    Args:
        parameter: of the benchmark, that takes them.
    """

    parameter: str


@dataclass(frozen=True)
class TrueDescriptions:
    """Say that a scorer is given descriptions that are true, and what it must give them at least.

    Args:
        least: their mean score.
    """

    least: float


@dataclass(frozen=True)
class Unplanted:
    """Of a corpus drawn from the vocabulary nothing is planted: what is found in it is what the subject does there."""


Truth = (
    Unplanted
    | PlantedUnits
    | PlantedWords
    | PlantedFiring
    | PlantedEdges
    | Regions
    | ReadTargets
    | PlantedDirections
    | LabelledText
    | RewrittenFact
    | PlainTraining
    | Explained
    | TrueDescriptions
)
