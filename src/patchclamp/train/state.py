"""Everything that later steps depend on, as arrays and JSON, and put back from these."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from patchclamp.core.errors import PatchclampError
from patchclamp.core.recording import as_numpy

KIND = "$"
"""Marks what JSON has no word for: ``{KIND: kind, …}``."""


@runtime_checkable
class Stateful(Protocol):
    """What has a state of its own, as torch's modules, optimizers and loaders have."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return the state: tensors, arrays, numbers, text, and mappings and lists of these."""

    def load_state_dict(self, state_dict: Any) -> Any:
        """Go back to a state."""


def pack(value: Any, arrays: dict[str, np.ndarray], at: str = "") -> Any:
    """Return data as JSON; its tensors and arrays are put into ``arrays``, under the names that stand in their place.

    Args:
        value: nested mappings, lists and tuples of tensors, arrays, numbers, text and None.
        arrays: filled.
        at: name of the value.

    Returns:
        Any: JSON-ready; ``unpack`` is its inverse.

    Raises:
        PatchclampError: anything else, with its name.

    Example:
        >>> arrays = {}
        >>> pack({"step": 3, "mean": np.zeros(2)}, arrays), sorted(arrays)
        ({'step': 3, 'mean': {'$': 'array', 'at': 'mean'}}, ['mean'])
    """
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {KIND: "float", "is": str(value)}
    if isinstance(value, Tensor | np.ndarray):
        arrays[at] = _array(value, at)
        return {KIND: str(value.dtype) if isinstance(value, Tensor) else "array", "at": at}
    if isinstance(value, Mapping) and all(isinstance(name, str | int) for name in value):
        items = [[name, pack(one, arrays, f"{at}/{name}" if at else str(name))] for name, one in value.items()]
        plain = all(isinstance(name, str) for name in value) and KIND not in value
        return dict(items) if plain else {KIND: "mapping", "items": items}
    if isinstance(value, list | tuple):
        packed = [pack(one, arrays, f"{at}/{i}") for i, one in enumerate(value)]
        return packed if isinstance(value, list) else {KIND: "tuple", "items": packed}
    raise PatchclampError(
        expected="a state of tensors, arrays, numbers, text, and mappings and lists of these",
        got=f"a {type(value).__name__} at {at or 'its top'}",
        remedy="Let state_dict give its parts.",
    )


def _array(value: Tensor | np.ndarray, at: str) -> np.ndarray:
    try:
        array: np.ndarray = as_numpy(value)
    except TypeError as problem:  # NumPy lacks some types
        raise PatchclampError(
            expected="tensors of a type that can be saved",
            got=f"{str(value.dtype).removeprefix('torch.')} at {at}",
            remedy="Train in float32, float16 or bfloat16.",
        ) from problem
    return array


def unpack(data: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Return what ``pack`` was given."""
    if isinstance(data, list):
        return [unpack(one, arrays) for one in data]
    if not isinstance(data, Mapping):
        return data
    if KIND not in data:
        return {name: unpack(one, arrays) for name, one in data.items()}
    kind = data[KIND]
    if kind == "float":
        return float(data["is"])
    if kind == "tuple":
        return tuple(unpack(one, arrays) for one in data["items"])
    if kind == "mapping":
        return {name: unpack(one, arrays) for name, one in data["items"]}
    array = arrays[data["at"]]
    if kind == "array":
        return array
    if kind == "torch.bfloat16":
        return torch.tensor(array.view(np.int16)).view(torch.bfloat16)
    return torch.tensor(array)


class Generators:
    """torch's own generators: the processor's, and those of the GPUs that hold a module."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        held = {t.device for module in modules for t in (*module.parameters(), *module.buffers())}
        self.gpus = sorted({device.index or 0 for device in held if device.type == "cuda"})

    @contextmanager
    def preserve(self) -> Iterator[None]:
        """Leave the generators afterwards as they are now, whatever is drawn meanwhile."""
        with torch.random.fork_rng(self.gpus):
            yield

    def seed(self, seed: int) -> None:
        """Begin all of them anew."""
        torch.default_generator.manual_seed(seed)
        for gpu in self.gpus:
            torch.cuda.default_generators[gpu].manual_seed(seed)

    def state_dict(self) -> dict[str, Tensor]:
        """Return where they are."""
        return {"cpu": torch.get_rng_state()} | {f"cuda{gpu}": torch.cuda.get_rng_state(gpu) for gpu in self.gpus}

    def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> None:
        """Go back to where they were."""
        torch.set_rng_state(state_dict["cpu"])
        for gpu in self.gpus:
            torch.cuda.set_rng_state(state_dict[f"cuda{gpu}"], gpu)


class Weights:
    """A module's parameters and buffers, those included that its ``state_dict`` leaves out."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def state_dict(self) -> dict[str, Any]:
        """Return the state; its tensors are the module's own."""
        kept = dict(self.module.state_dict())
        return {"kept": kept, "passing": {k: t.detach() for k, t in self.module.named_buffers() if k not in kept}}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go back to a state."""
        self.module.load_state_dict(state_dict["kept"])
        buffers = dict(self.module.named_buffers())
        with torch.no_grad():
            for name, tensor in state_dict["passing"].items():
                buffers[name].copy_(tensor)


def copy_state(state: Any) -> Any:
    """Return a state whose tensors lie in memory of their own, of the processor."""
    if isinstance(state, Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, Mapping):
        return {name: copy_state(one) for name, one in state.items()}
    return state


def stateful(name: str, thing: Any) -> Stateful:
    """Return what saves and restores a thing: itself, or what does so for a generator of torch or NumPy.

    Raises:
        PatchclampError: it has no state that can be saved.
    """
    if isinstance(thing, torch.Generator):
        return _TorchGenerator(thing)
    if isinstance(thing, np.random.Generator):
        return _NumpyGenerator(thing)
    if not isinstance(thing, Stateful):
        raise PatchclampError(
            expected=f"{name} with state_dict and load_state_dict, or a generator of torch or NumPy",
            got=f"a {type(thing).__name__}",
            remedy="Give it these two methods.",
        )
    return thing


class _TorchGenerator:
    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def state_dict(self) -> dict[str, Any]:
        return {"state": self.generator.get_state()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.generator.set_state(state_dict["state"])


class _NumpyGenerator:
    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator

    def state_dict(self) -> dict[str, Any]:
        return dict(self.generator.bit_generator.state)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.generator.bit_generator.state = state_dict
