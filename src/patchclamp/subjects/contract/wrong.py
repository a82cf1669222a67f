"""How a family is changed so that a law must reject it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from patchclamp.subjects.contract.part import Family
from patchclamp.subjects.engine import Expert


class RoundsWrites:
    """Write values back in steps of 1/64."""

    def give(self, new: Tensor, raw: Tensor) -> Any:
        """Turn values back, wrongly."""
        return super().give((new * 64).round() / 64, raw)  # type: ignore[misc]


class WritesNothing:
    """Write nothing back."""

    def give(self, new: Tensor, raw: Tensor) -> Any:
        """Turn values back, wrongly."""
        return raw


class TransposesPattern:
    """Read the last two axes of a tensor in the wrong order."""

    def take(self, raw: Tensor) -> Any:
        """Read a tensor, wrongly."""
        return super().take(raw.transpose(-1, -2))  # type: ignore[misc]


class ScalesInput:
    """Change what is read, in place."""

    factor = 2.0

    def take(self, raw: Tensor) -> Any:
        """Read a tensor, wrongly."""
        return super().take(raw.mul_(self.factor))  # type: ignore[misc]


class ScalesInputSlightly(ScalesInput):
    """Change what is read by a thousandth."""

    factor = 1.001


class TransposesPlaces:
    """Read a map's columns for its rows, or a sequence from its end."""

    def take(self, raw: Tensor) -> Any:
        """Read a tensor, wrongly."""
        return super().take(raw.transpose(-1, -2) if raw.ndim == 4 else raw.flip(1))  # type: ignore[misc]


def map_sites(changes: Callable[[Family], Mapping[str, Any]]) -> Callable[[Family], Family]:
    """Return what puts other places where a family has its sites."""
    return lambda family: replace(family, block={**family.block, **changes(family)})


def recast(behaviour: type, name: str = "") -> Callable[[Family], Family]:
    """Return what lets one place behave otherwise: that of ``name``, by default the first of neurons."""

    def make_wrong(family: Family) -> Family:
        site = name or neurons_of(family)
        place = family.block[site]
        other = type(behaviour.__name__, (behaviour, type(place)), {})
        return replace(family, block={**family.block, site: other(**place.__dict__)})

    return make_wrong


def neurons_of(family: Family) -> str:
    """Return the first site of a block where every token's neurons are read; without any, what the mixer gives."""
    own = (name for name, p in family.block.items() if name.endswith(".act") and not isinstance(p, Expert))
    return next(own, "attn.z" if "attn.z" in family.block else "ssm.z")


def write_of(family: Family) -> str:
    """Return the last site of a block whose values are added to the stream."""
    return [name for name in family.block if name.endswith(".write")][-1]


def leak_hooks(method: str) -> Callable[[Family], Family]:
    """Return what leaves a hook in the module whenever ``method`` lists the family's sites."""

    def make_wrong(family: Family) -> Family:
        def listing(self: Any, model: Any) -> Any:
            model.register_forward_hook(lambda *_: None)
            return getattr(super(leaking, self), method)(model)

        assert hasattr(type(family), method), f"a family has no method {method}"
        leaking: Any = type("Leaking", (type(family),), {method: listing})
        return leaking(**family.__dict__)

    return make_wrong


def mistake_width(family: Family) -> Family:
    """Return the family with what is added to the stream for neurons; without an MLP, for what a mixer gives."""
    name = "mlp.act" if "mlp.write" in family.block else "ssm.z"
    return replace(family, block={**family.block, name: family.block[write_of(family)]})


def mistake_neurons(family: Family) -> Family:
    """Return the family with pre-activations for neurons, with what enters a mixer for its gate, or shares doubled."""
    for name, wrong in (("mlp.act", "mlp.pre"), ("ssm.gate", "ssm.in")):
        if wrong in family.block:
            return replace(family, block={**family.block, name: family.block[wrong]})
    return replace(family, shares=lambda router, logits: 2 * family.shares(router, logits))


def double_scale(family: Family) -> Family:
    """Return the family with the attention scores twice as large."""
    return replace(family, scale=lambda module: 2 * family.scale(module))
