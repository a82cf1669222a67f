"""Learn tasks one after another along directions that earlier tasks' activity does not use (HLOP)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from patchclamp.core.errors import PatchclampError
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.options import option
from patchclamp.core.stream import Stage, Stream
from patchclamp.core.subject import Keep, Progress, keep_nothing
from patchclamp.core.training import Curve, Training
from patchclamp.subjects.protocols import Trains
from patchclamp.train import Objective, Plan, train

TESTED_AT_ONCE = 1024


@dataclass(frozen=True)
class HLOPOptions:
    """Options of Hebbian orthogonal projection."""

    rows: int = option(12, "rows that are added to each layer's Q for each task; 0 is plain training", least=0)
    rate: float = option(0.2, "learning rate of the weights, by plain gradient descent", least=1e-9)
    passes: int = option(5, "passes through each task", least=1)
    batch: int = option(50, "examples per step", least=1)
    iterations: int = option(5, "Hebbian updates of the new rows per step", least=1)
    row_rate: float = option(0.01, "learning rate of the rows", least=1e-9)
    momentum: float = option(0.9, "of the rows' updates", least=0.0, most=0.999)
    clip: float = option(10.0, "largest element of a row's update", least=1e-9)
    start: Literal["drawn", "kept"] = option(
        "drawn", "draw the weights anew by the seed, or begin with those there are"
    )


def hlop(
    subject: Trains,
    stream: Stream,
    options: HLOPOptions,
    *,
    seed: int = 0,
    progress: Progress,
    keep: Keep = keep_nothing,
) -> Training:
    r"""Learn the tasks of a stream one after another by Hebbian orthogonal projection.

    Every linear layer keeps rows Q ``(M, N)`` that span what its inputs x did in earlier tasks. Its weights learn from
    what lies outside, ΔW ∝ δ (x − QᵀQx)ᵀ, forward unchanged, so that answers to earlier inputs stay. Meanwhile new rows
    learn the present task's subspace by y = Qx, x̂ = Qᵀy, ΔQ = mean_b y (x − x̂)ᵀ (Oja's subspace rule; the rows of
    earlier tasks are frozen and take part in x̂); after the task they join Q. A bias, which is a weight of the constant
    input 1, learns in the first task alone.

    A layer of N inputs has room for N rows: once Σ M > N nothing can be learnt any more.

    Args:
        subject: a network that answers with a logit per class; its linear layers (``nn.Linear``) learn, nothing else.
        stream: the tasks.
        options: rows, rates and counts.
        seed: of weights, new rows, and the order of examples.
        progress: called with tasks done and in all.
        keep: where weights, rows and accuracy are kept after every task.

    Returns:
        Training: accuracy after and on every task. Curves, at the step at which a task ended: ``task N/loss``;
            ``rows``, M of the first layer; ``overlap``, the share of its Q that lies in as many principal components of
            the inputs so far (1 where they span the same), and ``orthonormality``, the largest element of QQᵀ − I.

    Raises:
        PatchclampError: no linear layer, answers of fewer classes than the stream has, inputs of another shape.

    Source: 2402.11984, section 4.2 (without spiking lateral neurons); the projection is that of the weights' gradient.

    Cost: as plain training, and 4 · iterations products of ``(batch, input)`` and ``(row, input)`` per layer and step.
    """
    module = subject.module
    layers = [Layer(one, options) for one in module.modules() if isinstance(one, nn.Linear)]
    dtype = _check(subject, layers, stream)
    if options.start == "drawn":
        _draw(module, seed)
    kept, frozen = module.training, [p for p in module.parameters() if not _is_learnt(p, layers)]
    needed = [p.requires_grad for p in frozen]
    learning = _Learning(module, stream, layers, options, seed, dtype)
    # Whatever the weights are now, an interrupted training goes on from those that it began with.
    accuracy, steps = [learning.restore(keep("task-00000", lambda: learning.state(0.0)))[0]], 0
    curves: dict[str, Curve] = {}
    seen: list[tuple[int, tuple[float, float, float] | None]] = []
    try:
        for p in frozen:
            p.requires_grad_(False)
        for t, stage in enumerate(stream):
            found, loss = learning.restore(keep(f"task-{t + 1:05d}", partial(learning.learn, t)))
            steps += options.passes * _n_batches(stage, options)
            curves[f"task {t + 1}/loss"] = ((steps, loss),)
            accuracy.append(found)
            seen.append((steps, layers[0].state()))
            progress(t + 1, len(stream))
    finally:
        module.train(kept)
        for p, need in zip(frozen, needed, strict=True):
            p.requires_grad_(need)
        subject.forget_hash()
    for i, name in enumerate(("rows", "overlap", "orthonormality")):
        if points := tuple((step, state[i]) for step, state in seen if state is not None):
            curves[name] = points
    return Training(steps, steps, steps, curves, accuracy=tuple(accuracy))


class Layer:
    """A linear layer and the rows that span what its inputs did.

    Args:
        module: the layer.
        options: of the method.
    """

    def __init__(self, module: nn.Linear, options: HLOPOptions) -> None:
        self.module, self.options = module, options
        weight = module.weight.detach()
        self.old = weight.new_zeros(0, module.in_features)
        """Q of earlier tasks."""
        self.new = self.old
        self.speed = self.old
        self.x = self.old
        """Inputs of the present step, ``(example, input)``."""
        self.scatter = weight.new_zeros(module.in_features, module.in_features)
        """Σ x xᵀ of all tasks, of which principal components are taken to look at, never to learn from."""
        self.first = True

    def begin(self, draw: np.random.Generator) -> None:
        """Add orthonormal rows of chance, outside those there are, as far as there is room."""
        n = min(self.options.rows, self.module.in_features - len(self.old))
        chance = torch.as_tensor(draw.standard_normal((self.module.in_features, n))).to(self.old)
        outside = chance - self.old.T @ (self.old @ chance)
        self.new = torch.linalg.qr(outside)[0].T.contiguous()
        self.speed = torch.zeros_like(self.new)

    def listen(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Keep the inputs of a step."""
        self.x = inputs[0].detach().reshape(-1, self.module.in_features)

    @torch.no_grad()
    def project(self) -> None:
        """Take what earlier tasks use off the gradient, and let the new rows learn."""
        if (gradient := self.module.weight.grad) is not None:
            gradient -= (gradient @ self.old.T) @ self.old
        if self.module.bias is not None and self.module.bias.grad is not None and not self.first:
            self.module.bias.grad.zero_()
        for _ in range(self.options.iterations if len(self.new) else 0):
            y = self.x @ self.new.T  # (example, new row)
            left = self.x - (self.x @ self.old.T) @ self.old - y @ self.new  # x − x̂, (example, input)
            change = (y.T @ left / len(left)).clamp(-self.options.clip, self.options.clip)
            self.speed = self.options.momentum * self.speed + change
            self.new = self.new + self.options.row_rate * self.speed
        self.scatter += self.x.T @ self.x

    def end(self) -> None:
        """Freeze the new rows."""
        self.old = torch.cat([self.old, self.new])
        self.first = not self.options.rows

    def state(self) -> tuple[float, float, float] | None:
        """Return M, the overlap with principal components, and the distance from orthonormal; None without rows."""
        n = len(self.old)
        if not n:
            return None
        components = torch.linalg.eigh(self.scatter)[1][:, -n:]  # (input, component)
        overlap = float(((self.old @ components) ** 2).sum() / n)
        apart = float((self.old @ self.old.T - torch.eye(n).to(self.old)).abs().max())
        return float(n), overlap, apart


@dataclass(frozen=True, eq=False)
class _Learning:
    """Go from the state after one task to that after the next, as arrays that can be kept."""

    module: nn.Module
    stream: Stream
    layers: list[Layer]
    options: HLOPOptions
    seed: int
    dtype: torch.dtype

    def learn(self, t: int) -> dict[str, np.ndarray]:
        """Learn a task, and return the state after it."""
        draw = np.random.default_rng((self.seed, t))
        for layer in self.layers:
            layer.begin(draw)
        with _listening(self.layers):
            loss = _fit(self.module, self.stream.stages[t], self.layers, self.options, draw, self.dtype)
        for layer in self.layers:
            layer.end()
        return self.state(loss)

    def state(self, loss: float) -> dict[str, np.ndarray]:
        """Return everything that later tasks depend on, with the loss and the accuracy on every task."""
        arrays = {f"weights/{name}": x.detach().cpu().numpy() for name, x in self.module.state_dict().items()}
        for i, layer in enumerate(self.layers):
            arrays |= {
                f"layer-{i}/old": layer.old.numpy(force=True),
                f"layer-{i}/scatter": layer.scatter.numpy(force=True),
            }
            arrays[f"layer-{i}/first"] = np.array(layer.first)
        return {**arrays, "loss": np.array(loss), "accuracy": np.array(_test(self.module, self.stream, self.dtype))}

    @torch.no_grad()
    def restore(self, state: Mapping[str, np.ndarray]) -> tuple[tuple[float, ...], float]:
        """Go to a state; return its accuracy on every task, and its loss."""
        weights = {name: x for name, x in state.items() if name.startswith("weights/")}
        own = self.module.state_dict()
        own |= {name.removeprefix("weights/"): torch.as_tensor(x) for name, x in weights.items()}
        self.module.load_state_dict(own)
        for i, layer in enumerate(self.layers):
            like = layer.module.weight
            layer.old, layer.scatter = (
                torch.as_tensor(state[f"layer-{i}/{name}"]).to(like) for name in ("old", "scatter")
            )
            layer.first = bool(state[f"layer-{i}/first"])
        return tuple(map(float, state["accuracy"])), float(state["loss"])


@contextmanager
def _listening(layers: list[Layer]) -> Iterator[None]:
    """Keep the inputs of layers while it lasts."""
    hooks = [layer.module.register_forward_pre_hook(layer.listen) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _fit(
    module: nn.Module,
    stage: Stage,
    layers: list[Layer],
    options: HLOPOptions,
    draw: np.random.Generator,
    dtype: torch.dtype,
) -> float:
    """Train on one task, and return the loss at the end."""
    batches = list(_batches(stage, options, draw, dtype))

    def project(*_: object) -> None:
        for layer in layers:
            layer.project()

    def optimizer(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        made = torch.optim.SGD(parameters, lr=options.rate)
        made.register_step_pre_hook(project)
        return made

    def loss(batch: tuple[Tensor, Tensor], _step: int) -> Tensor:
        return nn.functional.cross_entropy(module(batch[0]), batch[1])

    made = train(Objective(module, loss, optimizer), batches, Plan(passes=1))
    return made.curves["loss"][-1][1]


def _batches(
    stage: Stage, options: HLOPOptions, draw: np.random.Generator, dtype: torch.dtype
) -> Iterator[tuple[Tensor, Tensor]]:
    for _ in range(options.passes):
        for rows in np.array_split(draw.permutation(len(stage.labels)), _n_batches(stage, options)):
            yield torch.as_tensor(stage.inputs[rows], dtype=dtype), torch.as_tensor(stage.labels[rows])


def _n_batches(stage: Stage, options: HLOPOptions) -> int:
    return max(1, len(stage.labels) // options.batch)


def _is_learnt(parameter: nn.Parameter, layers: list[Layer]) -> bool:
    return any(parameter is own for layer in layers for own in layer.module.parameters())


def _check(subject: Trains, layers: list[Layer], stream: Stream) -> torch.dtype:
    """Refuse what cannot be learnt; return the weights' type."""
    if not layers:
        raise PatchclampError(
            expected="a network with linear layers (nn.Linear)",
            got=f"{subject.name} with none",
            remedy="Convolutions are not projected yet.",
        )
    dtype = layers[0].module.weight.dtype
    x = torch.as_tensor(stream.stages[0].inputs[:1], dtype=dtype)
    try:
        with torch.no_grad():
            shape = tuple(subject.module(x).shape)
    except (RuntimeError, TypeError, ValueError) as problem:
        raise PatchclampError(
            expected="a stream of inputs that the network takes",
            got=f"{tuple(x.shape[1:])}: {problem}"[:200],
            remedy="Give a network of as many inputs.",
        ) from problem
    if len(shape) != 2 or shape[1] < stream.n_classes:
        raise PatchclampError(
            expected=f"logits (example, class) of the stream's {stream.n_classes} classes",
            got=f"answers of shape {shape}",
            remedy="Give the last layer an output per class.",
        )
    return dtype


def _draw(module: nn.Module, seed: int) -> None:
    """Draw all weights anew, and leave torch's generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for one in module.modules():
            if callable(again := getattr(one, "reset_parameters", None)):
                again()


@torch.no_grad()
def _test(module: nn.Module, stream: Stream, dtype: torch.dtype) -> tuple[float, ...]:
    """Return the share of right answers on every task."""
    trained, found = module.training, []
    module.eval()
    for stage in stream:
        x, y = torch.as_tensor(stage.test_inputs, dtype=dtype), torch.as_tensor(stage.test_labels)
        said = torch.cat([module(part).argmax(1) for part in x.split(TESTED_AT_ONCE)])
        found.append(float((said == y).double().mean()))
    module.train(trained)
    return tuple(found)


def _cost(sizes: Sizes, _options: HLOPOptions) -> Cost:
    return Cost(forward=sizes.cases, backward=sizes.cases, bytes=8 * sizes.units**2)


METHOD = Method(
    hlop,
    name="hlop",
    room="learn",
    title="Hebbian orthogonal projection (HLOP)",
    question="Can a network learn task after task without forgetting, by a rule that lateral circuits could implement?",
    papers=(Paper("2402.11984", equation="section 4.2"),),
    cost=_cost,
    oracle="oracles.hlop:hlop",
    calibrated_on=("learner-subspaces",),
    must_show="accuracy at the end at least 0.1 above plain training, at most 0.03 forgotten",
    must_miss={
        "learner-subspaces:full": "ten tasks need more rows than the layer has inputs: the last ones are not learnt",
        "learner-subspaces:shared": "all tasks lie in one subspace, outside of which nothing can be learnt",
    },
    default_for=("learn",),
    resumable=True,
)
