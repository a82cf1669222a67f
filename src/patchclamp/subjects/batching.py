"""Where tokens lie in the rectangles that a network is shown."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from inspect import signature
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchclamp.core.errors import PatchclampError
from patchclamp.core.stimulus import Shown, Stimulus
from patchclamp.subjects.apply import TokenPositions

Padding = Literal["left", "right"]

CARRIED = ("cache", "past_key_values", "cache_params", "state")
"""Names under which networks of transformers receive what they kept of earlier tokens."""
KNOWN = frozenset(
    {
        "input_ids",
        "inputs_embeds",
        "attention_mask",
        "position_ids",
        "token_type_ids",
        "mm_token_type_ids",
        "cache_position",
        "head_mask",
        "labels",
        "logits_to_keep",
        "num_items_in_batch",
        "pixel_values",
        "pixel_attention_mask",
        "image_sizes",
        "image_grid_thw",
        "mm_encoder_outputs",
    }
)
"""Other arguments of a language model: none of them moves a token to another place than this file counts."""


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
        if self.padded:
            rolled = torch.zeros_like(whole)
            for row, places in enumerate(self.logical):
                first, n = int((places >= 0).long().argmax()), int(self.lengths[row])
                rolled[row, ..., :n] = whole[row, ..., first : first + n]
            whole = rolled[..., : int(self.lengths.max())]
        return self.rows(whole)

    def square(self, x: Float[Tensor, "tokens ..."]) -> Float[Tensor, "batch column ..."]:
        """Lay ``(tokens, …)`` out as ``(batch, logical position, …)``, zeros past each stimulus' end."""
        out = x.new_zeros(len(self.stimuli), int(self.lengths.max()), *x.shape[1:])
        inside = torch.arange(out.shape[1], device=x.device)[None] < self.lengths.to(x.device)[:, None]
        out[inside] = x
        return out


def collate(stimuli: Sequence[Stimulus], pad: int, padding: Padding, device: torch.device) -> Batch:
    """Lay stimuli out as one rectangle, ``pad`` in the columns that are left over.

    Returns:
        Batch: ids, mask and logical positions, each ``(row, column)``.
    """
    width = max(len(s) for s in stimuli)
    ids = np.full((len(stimuli), width), pad, dtype=np.int64)
    logical = np.full((len(stimuli), width), -1, dtype=np.int64)
    for row, s in enumerate(stimuli):
        start = width - len(s) if padding == "left" else 0
        ids[row, start : start + len(s)] = s.ids
        logical[row, start : start + len(s)] = np.arange(len(s))
    return Batch(torch.from_numpy(ids).to(device), torch.from_numpy(logical).to(device), stimuli)


class PaddingCheck:
    """Measure whether a network pays heed to the attention mask: some that carry a state read padding as tokens.

    Args:
        module: a transformers model that no family file covers; a family's contract proves the same.
        inputs: batch to the arguments of a call.
    """

    def __init__(self, module: Any, inputs: Callable[[Batch], dict[str, Any]]) -> None:
        self._module = module
        self._inputs = inputs
        self._moved: dict[bool, tuple[float, float]] = {}

    def check(self, batch: Batch) -> None:
        """Refuse a batch whose padding, where it has any, changes logits.

        Raises:
            PatchclampError: it does, by more than rounding.

        Cost: two forward passes of at most six tokens, the first time on either side.
        """
        if not batch.padded:
            return
        left = bool((batch.logical[:, 0] < 0).any())
        if left not in self._moved:
            self._moved[left] = self._measure_shift(batch, left)
        moved, allowed = self._moved[left]
        if not moved <= allowed:
            raise PatchclampError(
                expected=f"prompts of one length, as {type(self._module).__name__} reads padding like tokens",
                got=f"{int(batch.lengths.min())} to {int(batch.lengths.max())} tokens, padded on the "
                f"{'left' if left else 'right'}: logits move by {moved:.2g}",
                remedy="Run prompts of each length by themselves (--batch-size 1)"
                + (", or pad on the right." if left else "."),
            )

    def _measure_shift(self, batch: Batch, left: bool) -> tuple[float, float]:
        """Return how far padding moves the logits of a few tokens, and what rounding may do."""
        whole = batch.stimuli[int(batch.lengths.argmin())]
        short = Stimulus.of(whole.ids[:4])
        filler = int(batch.ids[batch.logical < 0][0])
        side: Padding = "left" if left else "right"
        alone = collate([short], filler, side, batch.ids.device)
        padded = collate([short, Stimulus.of(np.resize(short.ids, len(short) + 2))], filler, side, batch.ids.device)
        with torch.no_grad():
            bare, beside = (self._module(**self._inputs(each)).logits[:1] for each in (alone, padded))
        inside = (padded.logical[:1] >= 0).to(beside.device)
        moved = float((beside[inside] - bare[0]).abs().max())
        return moved, float(bare.abs().max()) * torch.finfo(bare.dtype).eps ** 0.5


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


def _tokens_shown(ids: Tensor, logical: Tensor) -> Sequence[Shown]:
    """Return what a prefill shows, which `resample` does not draw; nothing where embeddings are shown."""
    if ids.is_floating_point() or ids.shape != logical.shape:
        return ()
    return [Stimulus.of(row[at >= 0].cpu().numpy()) for row, at in zip(ids, logical, strict=True)]


class PositionTracker:
    """Follow foreign calls of a model: which logical position every column has, and where the prompt ended.

    Args:
        module: the model.
        positions: whether the model takes position ids, which padding makes necessary.
        first_position: the id of the first.
    """

    def __init__(self, module: Any, *, positions: bool, first_position: int = 0) -> None:
        self.positions = positions
        self.first_position = first_position
        self._names = tuple(signature(module.forward).parameters)
        self._frame: TokenPositions | None = None
        self._ids: Tensor | None = None
        self._carried: Any = None

    def current(self) -> TokenPositions | None:
        """Return the frame of the forward pass under way."""
        return self._frame

    def prepare(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Read one call's arguments; add the position ids that padding makes necessary.

        Raises:
            PatchclampError: an argument that is not known here, a mask of another shape than ``(batch, column)``, or
                a state of earlier tokens that passed unseen.
        """
        given = dict(zip(self._names, args, strict=False)) | kwargs
        _refuse_unknown(given)
        ids = given.get("input_ids")
        if ids is None:
            ids = given["inputs_embeds"][..., 0]
        carried = next((given[name] for name in CARRIED if given.get(name) is not None), None)
        n_past = self._count_columns(carried, ids)
        logical = self._logical(ids, given.get("attention_mask"), n_past)
        if not self._continues(ids, n_past):
            prompt, stimuli = logical.amax(1) + 1, _tokens_shown(ids, logical)
        else:
            assert self._frame is not None
            prompt, stimuli = self._frame.prompt, self._frame.stimuli
        self._frame = TokenPositions(logical, prompt, stimuli)
        self._ids = ids if n_past == 0 else None
        self._carried = carried
        if self.positions and given.get("position_ids") is None:
            kwargs = {**kwargs, "position_ids": logical[:, -ids.shape[1] :].clamp(min=0) + self.first_position}
        return args, kwargs

    def _count_columns(self, carried: Any, ids: Tensor) -> int:
        """Return how many columns a carried state holds; a state that does not count them follows the call before."""
        n_past = count_cached(carried)
        if n_past is not None:
            return n_past
        before = self._frame
        follows = self._carried is None or self._carried is carried
        if before is None or not follows or len(before.logical) != len(ids):
            raise PatchclampError(
                expected="a state of the call before, whose tokens were counted",
                got=f"a {type(carried).__name__} that does not say how many tokens it holds",
                remedy="Show the whole prompt inside the context first, or pass no state.",
            )
        return before.logical.shape[1]

    def _logical(self, ids: Tensor, mask: Any, n_past: int) -> Int[Tensor, "batch column"]:
        """Return the logical position of every column: by the mask, else by what was seen before, else in order."""
        n_new, before = ids.shape[1], self._frame
        if isinstance(mask, Tensor) and mask.shape == (len(ids), n_past + n_new):
            return torch.where(mask > 0, mask.long().cumsum(-1) - 1, -1)
        if n_past and before is not None and before.logical.shape == (len(ids), n_past):
            new = torch.arange(1, n_new + 1, device=ids.device)[None] + before.logical.amax(1, keepdim=True)
            return torch.cat([before.logical, new], 1)
        if mask is not None:
            raise PatchclampError(
                expected=f"an attention mask of (batch, column), {len(ids)} x {n_past + n_new}",
                got=" x ".join(map(str, mask.shape)) if isinstance(mask, Tensor) else type(mask).__name__,
                remedy="Give 1 for tokens and 0 for padding, and no static cache: places are counted by the mask.",
            )
        return torch.arange(n_past + n_new, device=ids.device).expand(len(ids), -1)

    def _continues(self, ids: Tensor, n_past: int) -> bool:
        """Tell a further step from a new prompt: cached steps have a past; uncached ones repeat the ids, one longer."""
        if self._frame is None:
            return False
        if n_past:
            return len(self._frame.logical) == len(ids) and self._frame.logical.shape[1] >= n_past
        before = self._ids
        return (
            before is not None
            and ids.shape[0] == before.shape[0]
            and ids.shape[1] == before.shape[1] + 1
            and bool((ids[:, :-1] == before).all())
        )


def count_cached(carried: Any) -> int | None:
    """Return how many tokens a state of earlier tokens holds; None where it holds some and does not count them.

    Attention layers of a cache count them; those of state-space models do not.
    """
    if carried is None:
        return 0
    if isinstance(carried, list | tuple):
        return None if len(carried) else 0
    if not hasattr(carried, "get_seq_length"):
        raise PatchclampError(
            expected="a cache of transformers, or a list of tensors",
            got=f"a {type(carried).__name__} as what was kept of earlier tokens",
            remedy="Positions could be counted wrongly. Leave it out, or use a tested version of transformers.",
        )
    with suppress(ValueError):  # transformers': no layer counts
        if length := int(carried.get_seq_length()):
            return length
    counts = [
        int(layer.get_seq_length()) for layer in getattr(carried, "layers", ()) if hasattr(layer, "get_seq_length")
    ]
    if any(counts):
        return max(counts)
    with suppress(ValueError):  # transformers': no layer has a state
        return None if carried.has_previous_state() else 0
    return None if getattr(carried, "linear_cache", None) else 0


def _refuse_unknown(given: Mapping[str, Any]) -> None:
    """Refuse arguments that may hold earlier tokens under a name that is not known; settings are none."""
    harmless = (type(None), bool, int, float, str)
    for name, value in given.items():
        if name not in KNOWN and name not in CARRIED and not isinstance(value, harmless):
            raise PatchclampError(
                expected="arguments whose meaning for positions is known",
                got=f"{name}, a {type(value).__name__}",
                remedy="Positions could be counted wrongly. Leave it out, or use a tested version of transformers.",
            )
