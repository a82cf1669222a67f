"""Frames: where tokens lie in the rectangles that a network is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchclamp.core.errors import PatchclampError
from patchclamp.core.stimulus import Shown, Stimulus
from patchclamp.subjects.edits import Frame

Padding = Literal["left", "right"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Stimuli of unequal length as one rectangle.

    Args:
        ids: ``(batch, column)`` token ids.
        logical: ``(batch, column)`` logical position; −1 at padding.
        stimuli: what the rows are.
    """

    ids: Int[Tensor, "batch column"]
    logical: Int[Tensor, "batch column"]
    stimuli: Sequence[Stimulus]

    @property
    def padded(self) -> bool:
        """Whether any column is padding."""
        return bool((self.logical < 0).any())

    @cached_property
    def lengths(self) -> Int[Tensor, " batch"]:
        """Length of every stimulus."""
        return (self.logical >= 0).sum(1)

    def rows(self, x: Tensor) -> Tensor:
        """Flatten ``(batch, column, …)`` to ``(tokens, …)``, padding left out."""
        return x.flatten(0, 1) if not self.padded else x[(self.logical >= 0).to(x.device)]

    def pattern_rows(self, x: Float[Tensor, "batch column head_column"], n_heads: int) -> Tensor:
        """Flatten patterns to ``(tokens, head, source)``, sources in logical order and padded to the longest."""
        whole = x.unflatten(2, (n_heads, -1))
        ordered = whole.new_zeros(*whole.shape[:3], int(self.lengths.max()))
        for row, places in enumerate(self.logical):
            inside = (places >= 0).to(x.device)
            ordered[row, ..., : int(inside.sum())] = whole[row][..., inside]
        return self.rows(ordered)

    def square(self, x: Float[Tensor, "tokens ..."]) -> Float[Tensor, "batch column ..."]:
        """Lay ``(tokens, …)`` out as ``(batch, logical position, …)``, zeros past each stimulus' end."""
        out = x.new_zeros(len(self.stimuli), int(self.lengths.max()), *x.shape[1:])
        inside = torch.arange(out.shape[1], device=x.device)[None] < self.lengths.to(x.device)[:, None]
        out[inside] = x
        return out


def lay_out(stimuli: Sequence[Stimulus], pad: int, padding: Padding, device: torch.device) -> Batch:
    """Lay stimuli out as one rectangle, ``pad`` in the columns that are left over."""
    width = max(len(s) for s in stimuli)
    ids = np.full((len(stimuli), width), pad, dtype=np.int64)
    logical = np.full((len(stimuli), width), -1, dtype=np.int64)
    for row, s in enumerate(stimuli):
        start = width - len(s) if padding == "left" else 0
        ids[row, start : start + len(s)] = s.ids
        logical[row, start : start + len(s)] = np.arange(len(s))
    return Batch(torch.from_numpy(ids).to(device), torch.from_numpy(logical).to(device), stimuli)


def read_columns(batch: Batch, positions: Sequence[int]) -> Int[Tensor, "batch read"]:
    """Return the columns where logical positions lie; negative ones count from each row's end."""
    lengths = batch.lengths[:, None]
    wanted = torch.as_tensor(list(positions), dtype=torch.int64, device=batch.ids.device)[None].expand(
        len(batch.stimuli), -1
    )
    wanted = torch.where(wanted < 0, wanted + lengths, wanted)
    if bool(((wanted < 0) | (wanted >= lengths)).any()):
        raise PatchclampError(
            expected=f"positions within every prompt; the shortest has {int(lengths.min())} tokens",
            got=", ".join(map(str, positions)),
            remedy="Positions count from 0; −1 is the last.",
        )
    first = (batch.logical >= 0).long().argmax(1, keepdim=True)
    return wanted + first


def _shown(ids: Tensor, logical: Tensor) -> Sequence[Shown]:
    """Return what a prefill shows, so that `resample` knows whom to avoid; nothing where embeddings are shown."""
    if ids.is_floating_point() or ids.shape != logical.shape:
        return ()
    return [Stimulus.of(row[at >= 0].cpu().numpy()) for row, at in zip(ids, logical, strict=True)]


class Framer:
    """Follow foreign calls of a model: which logical position every column has, and where the prompt ended.

    Args:
        positions: whether the model takes position ids, which padding makes necessary.
        first_position: the id of the first.
    """

    def __init__(self, *, positions: bool, first_position: int = 0) -> None:
        self.positions = positions
        self.first_position = first_position
        self._frame: Frame | None = None
        self._ids: Tensor | None = None

    def current(self) -> Frame | None:
        """Return the frame of the forward pass under way."""
        return self._frame

    def prepare(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Read one call's arguments; add the position ids that padding makes necessary."""
        ids = kwargs.get("input_ids", args[0] if args else None)
        if ids is None:
            ids = kwargs["inputs_embeds"][..., 0]
        past = kwargs.get("past_key_values")
        n_past = 0 if past is None else int(past.get_seq_length())
        mask = kwargs.get("attention_mask")
        if isinstance(mask, Tensor) and mask.ndim == 2:
            logical = torch.where(mask > 0, mask.long().cumsum(-1) - 1, -1)
        else:
            logical = torch.arange(n_past + ids.shape[1], device=ids.device).expand(ids.shape[0], -1)
        if not self._continues(ids, n_past):
            prompt, stimuli = logical.amax(1) + 1, _shown(ids, logical)
        else:
            assert self._frame is not None
            prompt, stimuli = self._frame.prompt, self._frame.stimuli
        self._frame = Frame(logical, prompt, stimuli)
        self._ids = ids if n_past == 0 else None
        if self.positions and kwargs.get("position_ids") is None:
            kwargs = {**kwargs, "position_ids": logical[:, -ids.shape[1] :].clamp(min=0) + self.first_position}
        return args, kwargs

    def _continues(self, ids: Tensor, n_past: int) -> bool:
        """Tell a further step from a new prompt: cached steps have a past; uncached ones repeat the ids, one longer."""
        if self._frame is None:
            return False
        if n_past:
            return True
        before = self._ids
        return (
            before is not None
            and ids.shape[0] == before.shape[0]
            and ids.shape[1] == before.shape[1] + 1
            and bool((ids[:, :-1] == before).all())
        )
