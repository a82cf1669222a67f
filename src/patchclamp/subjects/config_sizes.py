"""The network that a config describes, compared with the weights that it is loaded from."""

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import module as registry

from patchclamp.core.errors import PatchclampError
from patchclamp.subjects.weights import Checkpoint

SLACK, MORE_TENSORS = 2**25, 2000
"""A network may have twice the numbers of its files (a head tied to the embedding) and this much more: position tables
that are computed; and four times their tensors (fused ones taken apart) and this many more."""
PACKED = 16
"""Quantised weights hold up to this many numbers in one that is stored."""
BUFFERS = 2**30
"""Numbers in masks and tables, which no file holds."""
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


@contextmanager
def limit_construction(checkpoint: Checkpoint) -> Iterator[None]:
    """Stop a network from being built that is larger than its files.

    transformers builds it without memory first and fills it afterwards; what is registered is counted meanwhile, so
    that neither sizes nor numbers of blocks need be understood.

    Raises:
        PatchclampError: too many parameters, or too much in them.
    """
    packed = PACKED if checkpoint.config.get("quantization_config") else 1
    most = 2 * packed * checkpoint.elements + SLACK
    most_tensors = 4 * len(checkpoint.shapes) + MORE_TENSORS
    most_in_buffers = 4 * packed * checkpoint.elements + BUFFERS
    here, counts = threading.get_ident(), {"numbers": 0, "tensors": 0, "buffers": 0}

    def count(_module: nn.Module, _name: str, tensor: Tensor | None) -> None:
        if tensor is None or threading.get_ident() != here:
            return
        is_parameter = isinstance(tensor, nn.Parameter)
        if is_parameter and not tensor.is_meta:
            return  # a weight that was read takes the place of one that was counted
        counts["numbers" if is_parameter else "buffers"] += tensor.numel()
        counts["tensors"] += is_parameter
        if counts["numbers"] > most or counts["tensors"] > most_tensors or counts["buffers"] > most_in_buffers:
            raise PatchclampError(
                expected=f"a config for the weights beside it: {checkpoint.elements:,} numbers in "
                f"{len(checkpoint.shapes):,} tensors",
                got=f"{checkpoint.folder}/config.json, whose network has {counts['numbers']:,} numbers in "
                f"{counts['tensors']:,} tensors, and {counts['buffers']:,} in tables, by the time that counting stops",
                remedy="Config and weights do not belong together; fetch the model again.",
            )

    hooks = [
        registry.register_module_parameter_registration_hook(count),
        registry.register_module_buffer_registration_hook(count),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def refuse_other_config(checkpoint: Checkpoint, model: nn.Module, unexpected: Sequence[str]) -> list[str]:
    """Refuse weights of which the config leaves out a part of what it describes.

    Args:
        checkpoint: what was loaded.
        model: the network.
        unexpected: tensors that transformers did not use and does not expect to be there.

    Returns:
        list[str]: those that belong to other parts altogether: another head, an image tower.

    Raises:
        PatchclampError: more blocks than the config says, or parameters that modules of the network do not have.
    """
    left = [name for name in unexpected if not _is_mask(name, checkpoint.shapes)]
    modules = {_numberless(name) for name, _ in model.named_modules() if name}
    base = str(getattr(model, "base_model_prefix", ""))
    lost = [name for name in left if any(_belongs(each, modules) for each in (name, f"{base}.{name}"))]
    if lost:
        raise PatchclampError(
            expected="a config that describes the weights beside it",
            got=f"{checkpoint.folder}/config.json, whose network has no place for {len(lost):,} of their tensors, such "
            f"as {lost[0]}",
            remedy="It would be another network than the one that was saved: fetch the model again, or mend its "
            "config (number of blocks, biases, norms).",
        )
    return left


def _belongs(name: str, modules: set[str]) -> bool:
    """Say whether a tensor is one of a block that the network has others of, or of a module that it has."""
    plain = _numberless(name)
    module = plain.rpartition(".")[0]
    block, numbered, _ = plain.partition(".#.")
    return module in modules or (bool(numbered) and f"{block}.#" in modules)


def _numberless(name: str) -> str:
    return _NUMBER.sub("#", f".{name}.")[1:-1]


def _is_mask(name: str, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Say whether a tensor is a causal mask or its filler, which old files hold and no network reads."""
    shape_there: Any = next((shape for key, shape in shapes.items() if key == name or key.endswith(f".{name}")), None)
    if shape_there is None:
        shape_there = next((shape for key, shape in shapes.items() if name.endswith(f".{key}")), None)
    masks = (
        shape_there is not None
        and len(shape_there) == 4
        and shape_there[:2] == (1, 1)
        and shape_there[2] == shape_there[3]
    )
    return name.endswith((".masked_bias", ".inv_freq")) or (name.endswith(".bias") and masks)
