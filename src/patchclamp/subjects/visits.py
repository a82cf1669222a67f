"""Visits that record, hold and check what passes through a network's modules."""

from collections.abc import Callable, Collection, Container, Mapping, Sequence

import torch
from torch import Tensor

from patchclamp.core.errors import PatchclampError
from patchclamp.subjects.apply import TokenPositions
from patchclamp.subjects.engine import Place, Tap, Visit


def note_calls(
    visits: Sequence[tuple[Place | Tap, Visit]], paths: Sequence[str]
) -> tuple[list[tuple[Place | Tap, Visit]], set[str]]:
    """Return visits that note when they are made, and the set of paths that still wait for theirs."""
    unseen = set(paths)

    def noting(path: str, visit: Visit) -> Visit:
        def run(x: Tensor) -> Tensor:
            unseen.discard(path)
            return visit(x)

        return run

    ordered = zip(dict.fromkeys(paths), visits, strict=True)
    return [(place, noting(path, visit)) for path, (place, visit) in ordered], unseen


def refuse_uncalled(unseen: Collection[str]) -> None:
    """Refuse sites that a forward pass did not come by: nothing was recorded or changed there.

    Raises:
        PatchclampError: there are some.
    """
    if unseen:
        raise PatchclampError(
            expected="modules that this forward pass calls",
            got=f"{', '.join(sorted(unseen)[:3])}, not called",
            remedy="The example calls them and these inputs do not; choose a module that encloses them.",
        )


def unflatten_tokens(visit: Visit, frame: Callable[[], TokenPositions | None]) -> Visit:
    """Show a visit ``(batch, position, width)`` where the network has the tokens of all rows on one axis."""

    def run(x: Tensor) -> Tensor:
        if x.ndim > 2:  # another block of the network keeps rows apart at the same place
            return visit(x)
        here = frame()
        square = x.unflatten(0, (1 if here is None else len(here.logical), -1))
        if torch.is_grad_enabled():
            # A place that is shared is written into in the end, and a view of it would then lie behind that change.
            square = square.clone()
        new = visit(square)
        # The reshaped view is off the path from input to output: under autograd it must be put on it.
        return x if new is square and not torch.is_grad_enabled() else new.flatten(0, 1)

    return run


def refuse_second_call(path: str, seen: Container[str]) -> None:
    """Refuse a second value at one site: which call is meant would be a guess."""
    if path in seen:
        raise second_call_error(path)


def second_call_error(path: str) -> PatchclampError:
    """Return the refusal of a module that runs several times in one forward."""
    return PatchclampError(
        expected="a module that is called once per forward",
        got=f"{path}, called again",
        remedy="Use the modules that call it.",
    )


def keep_on_path(held: dict[str, Tensor]) -> Callable[[str, Tensor], Tensor]:
    """Return a ``keep`` that puts every value on the path to the output and holds it."""

    def keep(path: str, x: Tensor) -> Tensor:
        refuse_second_call(path, held)
        # The first site on a path has nothing before it that asks for a gradient: it becomes the leaf.
        held[path] = x if x.requires_grad else x.detach().requires_grad_(True)
        return held[path]

    return keep


def gradients_of(measured: Tensor, held: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return d Σ measured / d value for every held value; zeros where the measure does not depend on it."""
    if not measured.requires_grad:
        return {path: torch.zeros_like(x) for path, x in held.items()}
    gradients = torch.autograd.grad(measured.sum(), list(held.values()), allow_unused=True)
    return {path: torch.zeros_like(x) if g is None else g for (path, x), g in zip(held.items(), gradients, strict=True)}
