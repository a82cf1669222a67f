"""One forward pass over an example tells which tensors a network's modules take and give."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from patchclamp.core.errors import PatchclampError
from patchclamp.core.site import Site
from patchclamp.subjects.engine import Place, PositionsFirst, Tap, evaluation_mode, keep_modules_called

MODULE = "module."


def shapes_inside(module: nn.Module, forward: Callable[[], object]) -> dict[str, list[torch.Size]]:
    """Run one forward and return the shapes of every module's input and output that is a tensor of real numbers.

    Returns:
        dict[str, list[torch.Size]]: path to a shape for each time that the module ran.

    Raises:
        PatchclampError: the module does not accept its example.
    """
    shapes: dict[str, list[torch.Size]] = {}
    handles = []
    for path, part in module.named_modules():
        if path:
            handles.append(part.register_forward_pre_hook(_note_shapes(shapes, path, "in"), with_kwargs=True))
            handles.append(part.register_forward_hook(_note_shapes(shapes, path, "out")))
    try:
        with torch.no_grad(), keep_modules_called(module), evaluation_mode(module):
            forward()
    except Exception as problem:
        raise PatchclampError(
            expected="example inputs that the module accepts",
            got=f"{type(problem).__name__}: {problem}"[:200],
            remedy="Pass the tensors that you would call it with, batch first.",
        ) from problem
    finally:
        for handle in handles:
            handle.remove()
    return shapes


def probe(
    module: nn.Module, forward: Callable[[], object], lead: tuple[int, ...] = ()
) -> dict[str, tuple[Site, Place | Tap]]:
    """Run one forward and return every module's input and output that is a tensor of real numbers, as sites.

    Args:
        module: the network.
        forward: runs it.
        lead: where given, only tensors of these first sizes and one more axis.

    Returns:
        dict[str, tuple[Site, Place | Tap]]: by path of the site, in forward order.

    Raises:
        PatchclampError: the module does not accept its example.
    """
    return sites_of_shapes(shapes_inside(module, forward), lead)


def sites_of_shapes(
    shapes: Mapping[str, list[torch.Size]], lead: tuple[int, ...] = (), rows: int | None = None
) -> dict[str, tuple[Site, Place | Tap]]:
    """Return the sites of tensors of these shapes.

    Args:
        shapes: path to shape, as ``shapes_inside`` gives them.
        lead: where given, only tensors of these first sizes and one more axis.
        rows: rows of the example, where known: a tensor that has them second has positions first.

    Returns:
        dict[str, tuple[Site, Place | Tap]]: by path of the site, in the order of the shapes.
    """
    layouts = {
        1: ("unit",),
        2: ("stimulus", "unit"),
        3: ("stimulus", "position", "unit"),
        4: ("stimulus", "channel", "y", "x"),
    }
    sites: dict[str, tuple[Site, Place | Tap]] = {}
    for path, (shape, *more) in shapes.items():
        axes = layouts.get(len(shape))
        if lead and (shape[:-1] != lead):
            continue
        if axes is not None and len(shape) > 1:
            width = shape[1] if "channel" in axes else shape[-1]
            dotted, _, side = path[len(MODULE) :].rpartition(".")
            turned = rows is not None and len(shape) == 3 and shape[0] != rows == shape[1]
            place = (PositionsFirst if turned else Place)(dotted, "in" if side == "in" else "out")
            sites[path] = (Site(path, "module", int(width), axes, calls=1 + len(more)), place)
    return sites


def _note_shapes(shapes: dict[str, list[torch.Size]], path: str, side: str) -> Callable[..., None]:
    def note(_module: nn.Module, args: Any, other: Any) -> None:
        if side == "in":
            seen = args[0] if args else next((v for v in other.values() if isinstance(v, Tensor)), None)
        else:
            seen = other[0] if isinstance(other, tuple | list) and other else other
        if isinstance(seen, Tensor) and seen.is_floating_point():
            shapes.setdefault(f"{MODULE}{path}.{side}", []).append(seen.shape)

    return note
