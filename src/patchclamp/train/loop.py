"""Step after step on batches, what is measured on the way, and the best weights."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from patchclamp.core.errors import PatchclampError
from patchclamp.train.plan import EarlyStop, Measured, Objective, Plan
from patchclamp.train.reader import Reader
from patchclamp.train.state import Generators, Stateful, Weights, copy_state, stateful

POINTS = 100
"""Points of a curve at most, but for what the last step adds."""
HELD_OUT = "held_out"


class Part:
    """One objective, its optimizer, and the learning rates that this was given."""

    def __init__(self, name: str, objective: Objective) -> None:
        self.name, self.objective = name, objective
        self.parameters = [p for p in objective.module.parameters() if p.requires_grad]
        if not self.parameters:
            raise PatchclampError(
                expected="a module with parameters that need a gradient",
                got=f"{self.said}, a {type(objective.module).__name__} with none",
                remedy="Set requires_grad of what is to be trained.",
            )
        self.optimizer = objective.optimizer(self.parameters)
        if not isinstance(self.optimizer, torch.optim.Optimizer) or isinstance(self.optimizer, torch.optim.LBFGS):
            raise PatchclampError(
                expected="an optimizer of torch that takes its step from the gradient at hand",
                got=f"a {type(self.optimizer).__name__} for {self.said}",
                remedy="For example optimizer=torch.optim.Adam.",
            )
        self._check_held()
        self.weights = Weights(objective.module)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]

    @property
    def said(self) -> str:
        """The name as errors say it."""
        return self.name or "the objective"

    def _check_held(self) -> None:
        """Refuse an optimizer that would change other parameters than the module's, or none of them.

        Raises:
            PatchclampError: says how many it holds.
        """
        own = {id(p) for p in self.parameters}
        held = [p for group in self.optimizer.param_groups for p in group["params"]]
        strange = sum(id(p) not in own for p in held)
        if strange or not held:
            raise PatchclampError(
                expected=f"an optimizer of the parameters that it is given, those of {self.said} that need a gradient",
                got=f"one of {len(held)}, {strange} of which are others",
                remedy="Make it of the list that the function is called with: optimizer=lambda ps: SGD(ps, lr=0.1).",
            )

    def check_gradients(self) -> None:
        """Refuse a loss that does not depend on the module: no step would change a weight.

        Raises:
            PatchclampError: no parameter has a gradient.
        """
        if all(p.grad is None for p in self.parameters):
            raise PatchclampError(
                expected=f"a loss that depends on the parameters of {self.said}",
                got="one whose gradient reaches none of them",
                remedy="Compute it with the module that is trained.",
            )

    def check_weights(self, step: int) -> None:
        """Refuse weights that are no numbers.

        Raises:
            PatchclampError: with the step.
        """
        # Both ends in one pass, NaN included.
        if not all(bool(torch.isfinite(torch.stack(p.detach().aminmax())).all()) for p in self.parameters if p.numel()):
            raise PatchclampError(
                expected="finite weights", got=f"NaN or infinite ones of {self.said} after step {step}", remedy=SLOWER
            )

    def state_dict(self) -> dict[str, Any]:
        """Return weights and what the optimizer keeps."""
        return {"weights": self.weights.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go back to a state."""
        self.weights.load_state_dict(state_dict["weights"])
        self.optimizer.load_state_dict(state_dict["optimizer"])


SLOWER = "Begin again in another folder, with a lower learning rate or a clip; what was committed before is kept."


class Loop:
    """A training between two of its states.

    Args:
        objectives: what is minimised, by name.
        batches: read pass after pass.
        plan: how long and how fast.
        early_stop: when further steps no longer help.
        own: what else later steps depend on, by name.
    """

    def __init__(
        self,
        objectives: Mapping[str, Objective],
        batches: Iterable[Any],
        plan: Plan,
        early_stop: EarlyStop | None,
        own: Mapping[str, Any],
    ) -> None:
        self.plan, self.early_stop = plan, early_stop
        self.parts = [Part(name, one) for name, one in objectives.items()]
        self.generators = Generators([one.module for one in objectives.values()])
        self.reader = Reader(batches, self.generators)
        self.own: dict[str, Stateful] = {name: stateful(name, one) for name, one in own.items()}
        self.n_steps = _steps(plan, batches)
        self.every = max(self.n_steps // POINTS, 1)
        self.step = self.since = 0
        self.sums: dict[str, float] = {}
        self.curves: dict[str, list[list[float]]] = {}
        self.best: dict[str, Any] | None = None
        """Step, value and weights of the best measurement, and how many have come since."""

    @property
    def device(self) -> str:
        """Where the first module lies."""
        return str(self.parts[0].parameters[0].device)

    @property
    def ended(self) -> bool:
        """Whether no step is left, or no step would help."""
        waited = (
            self.best is not None and self.early_stop is not None and self.best["waited"] >= self.early_stop.patience
        )
        return waited or self.step >= self.n_steps

    @torch.enable_grad()
    def advance(self) -> None:
        """Take one step of every objective on the next batch.

        Raises:
            PatchclampError: no batch, or a loss that is not finite, with the step: its gradient changes no weight.
        """
        batch = self.reader.take()
        for part in self.parts:
            loss, values = self._measure_curves(part, part.objective.loss(batch, self.step))
            part.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            part.check_gradients()
            if self.plan.clip is not None:
                clip_grad_norm_(part.parameters, self.plan.clip)
            share = (part.objective.schedule or self.plan.share)(self.step, self.n_steps)
            for group, rate in zip(part.optimizer.param_groups, part.rates, strict=True):
                group["lr"] = rate * share
            part.optimizer.step()
            for name, value in values.items():
                self.sums[name] = self.sums.get(name, 0.0) + value
        self.step += 1
        self.since += 1
        if self.since == self.every or self.step == self.n_steps:
            self._note()

    def _measure_curves(self, part: Part, given: Measured) -> tuple[Tensor, dict[str, float]]:
        """Return the loss and every number, by the name of its curve."""
        numbers = given if isinstance(given, Mapping) else {"loss": given}
        loss = numbers.get("loss")
        if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
            is_number = isinstance(loss, Tensor) and loss.numel() == 1
            raise PatchclampError(
                expected="a loss that is one number with a gradient",
                got=f"{'one without a gradient' if is_number else f'{loss!r:.60}'} for {part.said}",
                remedy="Return the mean over the batch, or a mapping with it under 'loss'.",
            )
        start = f"{part.name}/" if part.name else ""
        values = {
            start + name: float(one.detach() if isinstance(one, Tensor) else one) for name, one in numbers.items()
        }
        if not math.isfinite(values[start + "loss"]):
            raise PatchclampError(
                expected="a finite loss",
                got=f"{values[start + 'loss']} at step {self.step} of {part.said}",
                remedy=SLOWER,
            )
        return loss, values

    def _note(self) -> None:
        """Add a point to every curve: the mean since the one before."""
        for name, total in self.sums.items():
            self.curves.setdefault(name, []).append([self.step, total / self.since])
        self.sums, self.since = {}, 0

    @torch.no_grad()
    def measure(self) -> None:
        """Measure what is held out, where it is due, and keep the weights where they are the best so far.

        Raises:
            PatchclampError: a number that is not finite, with the step.
        """
        stop = self.early_stop
        if stop is None or (self.step % stop.every and self.step < self.n_steps):
            return
        modes = [(m, m.training) for part in self.parts for m in part.objective.module.modules()]
        try:
            for part in self.parts:
                part.objective.module.eval()
            with self.generators.preserve():
                value = float(stop.measure())
        finally:
            for module, mode in modes:
                module.training = mode
        if not math.isfinite(value):
            raise PatchclampError(
                expected="a finite number of what is held out", got=f"{value} after step {self.step}", remedy=SLOWER
            )
        self.curves.setdefault(HELD_OUT, []).append([self.step, value])
        if self.best is None or stop.is_better(value, self.best["value"]):
            weights = {part.name: copy_state(part.weights.state_dict()) for part in self.parts}
            self.best = {"step": self.step, "value": value, "waited": 0, "weights": weights}
        else:
            self.best["waited"] += 1
        if self.ended and self.since:
            self._note()

    def close(self) -> int:
        """Give the modules the best weights where there are any; return the step after which they were so.

        Raises:
            PatchclampError: weights that are not finite.
        """
        if self.best is not None:
            for part in self.parts:
                part.weights.load_state_dict(self.best["weights"][part.name])
        for part in self.parts:
            part.check_weights(self.step)
        return self.step if self.best is None else int(self.best["step"])

    # -- state --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return everything that later steps depend on.

        Raises:
            PatchclampError: weights that are not finite: such a state is of no use.
        """
        for part in self.parts:
            part.check_weights(self.step)
        return {
            "step": self.step,
            "since": self.since,
            "sums": self.sums,
            "curves": self.curves,
            "best": self.best,
            "parts": {part.name: part.state_dict() for part in self.parts},
            "own": {name: dict(one.state_dict()) for name, one in self.own.items()},
            "batches": self.reader.state_dict(),
            "generators": self.generators.state_dict(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go back to a state."""
        self.step, self.since = int(state_dict["step"]), int(state_dict["since"])
        self.sums, self.curves, self.best = state_dict["sums"], state_dict["curves"], state_dict["best"]
        for part in self.parts:
            part.load_state_dict(state_dict["parts"][part.name])
        for name, thing in self.own.items():
            thing.load_state_dict(state_dict["own"][name])
        self.reader.load_state_dict(state_dict["batches"])
        # Reading goes through the batches before, and may draw.
        self.generators.load_state_dict(state_dict["generators"])


def _steps(plan: Plan, batches: Iterable[Any]) -> int:
    """Return how many steps a plan has on these batches.

    Raises:
        PatchclampError: the plan does not say, and the batches have no length.
    """
    if plan.steps is not None:
        return plan.steps
    try:
        n = len(batches)  # type: ignore[arg-type]
    except TypeError as problem:
        raise PatchclampError(
            expected="steps in the plan, or batches that have a length",
            got=f"a {type(batches).__name__} without one",
            remedy="Give Plan(steps=…).",
        ) from problem
    if not n:
        raise PatchclampError(expected="at least one batch", got="none", remedy="Give more data, or smaller batches.")
    return n * (plan.passes or 1)
