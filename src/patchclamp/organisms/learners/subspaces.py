"""Tasks whose inputs each lie in a subspace of their own, and a softmax layer that forgets them."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from patchclamp.core.arguments import Natural, Positive, checked
from patchclamp.core.stream import Stage, Stream

WIDTH, RANK, CLASSES = 100, 12, 5
RATE, PASSES, BATCH = 0.2, 5, 50
"""With which the plain layer is trained."""


@checked
@dataclass(frozen=True, eq=False)
class Subspaces:
    """Hold a stream of tasks in subspaces, and what plain training gets of it.

    Args:
        stream: every task's inputs span ``RANK`` of ``WIDTH`` dimensions; a linear teacher of its own labels them.
        subspaces: ``(task, rank, width)`` orthonormal rows.
        plain: ``(after, on)`` accuracy of a softmax layer from zero, trained by gradient descent on one task after
            another; row 0 is before any. The teachers themselves are always right.
    """

    stream: Stream
    subspaces: Float[np.ndarray, "task rank width"]
    plain: Float[np.ndarray, "after on"]


def make(
    *,
    variant: Literal["", "full", "shared"] = "",
    n_train: Positive = 1000,
    n_test: Positive = 500,
    seed: Natural = 0,
) -> Subspaces:
    """Make the organism.

    Args:
        variant: ``full`` of ten tasks, more dimensions than the inputs have; ``shared`` of five tasks in one and the
            same subspace; empty for five in subspaces of chance, which are nearly but not quite orthogonal.
        n_train: examples of each task.
        n_test: further ones that are tested on.
        seed: of everything random.

    Returns:
        Subspaces: the stream and the truth.

    Cost: half a second, most of it the plain training.

    Example:
        >>> made = make(n_train=100, n_test=50)
        >>> x = made.stream.stages[0].inputs
        >>> len(made.stream), x.shape, int(np.linalg.matrix_rank(x))
        (5, (100, 100), 12)
    """
    draw = np.random.default_rng(seed)
    stages: list[Stage] = []
    subspaces: list[np.ndarray] = []
    for task in range(10 if variant == "full" else 5):
        rows = np.linalg.qr(draw.standard_normal((WIDTH, RANK)))[0].T  # (rank, width)
        subspaces.append(subspaces[0] if variant == "shared" and task else rows)
        teacher = draw.standard_normal((RANK, CLASSES))
        z = draw.standard_normal((n_train + n_test, RANK))
        x, y = z @ subspaces[-1], (z @ teacher).argmax(1)
        stages.append(Stage(f"task {task + 1}", x[:n_train], y[:n_train], x[n_train:], y[n_train:]))
    stream = Stream(tuple(stages), "subspaces")
    return Subspaces(stream, np.stack(subspaces), _train_plainly(stream, draw))


def _train_plainly(stream: Stream, draw: np.random.Generator) -> Float[np.ndarray, "after on"]:
    """Return the accuracy on every task after each, of one softmax layer trained by gradient descent."""
    weights = np.zeros((WIDTH, stream.n_classes))
    accuracies = [_test(weights, stream)]
    for stage in stream:
        for _ in range(PASSES):
            for rows in np.array_split(draw.permutation(len(stage.labels)), len(stage.labels) // BATCH):
                x, y = stage.inputs[rows], stage.labels[rows]
                p = np.exp(x @ weights)
                p /= p.sum(1, keepdims=True)
                p[np.arange(len(y)), y] -= 1
                weights -= RATE * x.T @ p / len(y)
        accuracies.append(_test(weights, stream))
    return np.stack(accuracies)


def _test(weights: np.ndarray, stream: Stream) -> Float[np.ndarray, " on"]:
    return np.array([((one.test_inputs @ weights).argmax(1) == one.test_labels).mean() for one in stream])
