"""Edits of a network's weights that hold for a while, and which linear map reads a site."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from patchclamp.core.edit import Edit
from patchclamp.core.errors import PatchclampError
from patchclamp.core.subject import LinearMap


@contextmanager
def apply_edit(subject: Any, edit: Edit) -> Iterator[None]:
    """Add an edit to a subject's parameters while the context lasts; see ``Network.edited``."""
    before = subject.hash
    if edit.before != before:
        raise PatchclampError(
            expected=f"an edit of the weights of {subject.name} ({before[:12]})",
            got=f"one made for {edit.before[:12]}",
            remedy="Make it for these weights; an edit that was made with another in force goes inside that one.",
        )
    known = dict(subject.module.named_parameters())
    _check(edit, known, subject.name)
    kept = {name: known[name].detach().clone() for name in edit.deltas}
    try:
        with torch.no_grad():
            for name, delta in edit.deltas.items():
                added = torch.as_tensor(delta, device=known[name].device)
                known[name].copy_(known[name].to(torch.promote_types(known[name].dtype, added.dtype)) + added)
        subject.__dict__["hash"] = edit.after
        yield
    finally:
        with torch.no_grad():
            for name, values in kept.items():
                known[name].copy_(values)
        subject.__dict__["hash"] = before


def _check(edit: Edit, known: dict[str, nn.Parameter], name: str) -> None:
    """Refuse parameters that are not there, have another shape, or cannot be added to."""
    for path, delta in edit.deltas.items():
        got = "no such parameter" if path not in known else ""
        if not got and tuple(known[path].shape) != delta.shape:
            got = f"a delta of shape {delta.shape} for {tuple(known[path].shape)}"
        if not got and (known[path].is_meta or not known[path].is_floating_point()):
            got = "weights that are quantised, or not in memory"
        if got:
            raise PatchclampError(
                expected=f"parameters of {name}, in memory and as plain floats, with deltas of their shapes",
                got=f"{path}: {got}",
                remedy="`subject.parameters()` lists names and shapes; load the model unquantised on one device.",
            )


def linear_map(root: nn.Module, site: str, path: str | None) -> LinearMap:
    """Return the linear map at a module's path, whose input is a site; None where no module reads the site.

    Returns:
        LinearMap: name of the weight, and whether it is stored transposed.

    Raises:
        PatchclampError: no module, one that is no linear map, or one whose weights are elsewhere.

    Example:
        >>> linear_map(nn.Sequential(nn.Linear(2, 3)), "module.0.in", "0")
        LinearMap(parameter='0.weight', transposed=False)
    """
    module = None if path is None else root.get_submodule(path)
    transposed = type(module).__name__ == "Conv1D"
    if not isinstance(module, nn.Linear) and not transposed:
        raise PatchclampError(
            expected="a site that one linear map reads, such as blocks.0.mlp.act",
            got=f"{site}, read by {'none' if module is None else type(module).__name__}",
            remedy="Choose the input of a down projection or of an output projection.",
        )
    weight: Tensor = root.get_parameter(f"{path}.weight")
    if weight.is_meta or not weight.is_floating_point():
        raise PatchclampError(
            expected=f"weights of {path} in memory, and as plain floats",
            got="weights that are quantised, or not in memory",
            remedy="Load the model unquantised on one device.",
        )
    return LinearMap(f"{path}.weight", transposed)
