"""Generation: continuing prompts by transformers' own ``generate``, whatever is attached to the model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from patchclamp.core.errors import PatchclampError
from patchclamp.core.stimulus import Stimulus
from patchclamp.core.subject import Progress
from patchclamp.subjects.frames import Batch

COOLEST = 1e-3


@dataclass(frozen=True, eq=False)
class Generation:
    """What a model wrote.

    Args:
        prompt: the stimulus that it continued.
        ids: ``(step,)`` generated token ids, the end token left out.
        text: the continuation as text.
    """

    prompt: Stimulus
    ids: Int[np.ndarray, " step"]
    text: str


def check_request(longest: int, context: int | None, max_new_tokens: int, temperature: float) -> None:
    """Refuse what cannot be generated.

    Raises:
        PatchclampError: no token asked for, a temperature that is none, or more tokens than the context holds.
    """
    if max_new_tokens < 1 or not (temperature == 0 or COOLEST <= temperature < float("inf")):
        raise PatchclampError(
            expected=f"at least 1 new token, and a temperature of 0 or from {COOLEST} on",
            got=f"{max_new_tokens} and {temperature}",
            remedy="Temperature 0 takes the likeliest token.",
        )
    if context is not None and longest + max_new_tokens > context:
        raise PatchclampError(
            expected=f"prompt and continuation within {context} tokens, the model's context",
            got=f"{longest} + {max_new_tokens}",
            remedy=f"Ask for at most {max(context - longest, 0)} new tokens.",
        )


def continued_ids(
    model: Any,
    batch: Batch,
    *,
    pad: int,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    cache: bool,
    progress: Progress | None,
) -> list[np.ndarray]:
    """Return what a transformers model writes after a left-padded batch, each row cut before its end token.

    Raises:
        PatchclampError: the logits to sample from are not finite.

    Cost: one forward pass per step.
    """
    from transformers import GenerationConfig

    own = model.generation_config
    config = GenerationConfig(
        max_new_tokens=max_new_tokens, do_sample=temperature > 0, temperature=temperature or None,
        use_cache=cache, eos_token_id=own.eos_token_id, bos_token_id=own.bos_token_id,
        pad_token_id=pad if own.pad_token_id is None else own.pad_token_id,
    )  # fmt: skip
    before = batch.ids.shape[1]
    devices = [batch.ids.device] if batch.ids.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.no_grad():
        torch.manual_seed(seed)
        try:
            whole = model.generate(
                input_ids=batch.ids,
                attention_mask=(batch.logical >= 0).long(),
                generation_config=config,
                stopping_criteria=None if progress is None else [_ticking(progress, before, max_new_tokens)],
            )
        except RuntimeError as problem:
            if "probability tensor" not in str(problem):
                raise
            raise PatchclampError(
                expected="finite logits to sample from",
                got="NaN or infinite ones",
                remedy="Clamp to smaller values, or use --dtype float32.",
            ) from problem
    ends = own.eos_token_id if isinstance(own.eos_token_id, list) else [own.eos_token_id]
    rows = whole[:, before:].cpu().numpy().astype(np.int64)
    return [ids[: next((i for i, t in enumerate(ids.tolist()) if t in ends), len(ids))] for ids in rows]


def _ticking(progress: Progress, before: int, steps: int) -> Callable[..., Tensor]:
    """Return a stopping criterion that never stops: transformers calls it once per step."""

    def tick(ids: Tensor, _scores: Any, **_options: Any) -> Tensor:
        progress(ids.shape[1] - before, steps)
        return torch.zeros(ids.shape[0], dtype=torch.bool, device=ids.device)

    return tick
