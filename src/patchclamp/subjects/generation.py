"""Continuing prompts by transformers' own ``generate``, whatever is attached to the model."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchclamp.core.errors import PatchclampError
from patchclamp.core.plain_text import plain
from patchclamp.core.stimulus import Stimulus
from patchclamp.core.subject import Progress
from patchclamp.subjects.batching import Batch

SHOWN = 80
"""Characters of a continuation that its one line shows."""
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

    def __repr__(self) -> str:
        """Return the text and how many tokens it has, in one line."""
        said = self.text if len(self.text) <= SHOWN else self.text[: SHOWN - 1] + "…"
        n, m = len(self.ids), len(self.prompt)
        return f"Generation({plain(repr(said))}, {n} token{'s' * (n != 1)} after a prompt of {m})"


def check_request(longest: int, context: int | None, max_new_tokens: int, temperature: float | int) -> None:
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


def generate_ids(
    model: Any,
    batch: Batch,
    *,
    pad: int,
    max_new_tokens: int,
    temperature: float | int,
    seed: int,
    cache: bool,
    progress: Progress | None,
) -> list[np.ndarray]:
    """Return what a transformers model writes after a left-padded batch, each row cut before its end token.

    Returns:
        list[np.ndarray]: new ids of every row, in the order of the batch.

    Raises:
        PatchclampError: the logits to choose from are not finite.

    Cost: one forward pass per step.
    """
    own = model.generation_config
    config = _config(
        own,
        pad,
        max_new_tokens=max_new_tokens,
        do_sample=temperature > 0,
        temperature=float(temperature) or None,
        use_cache=cache,
    )
    before = batch.ids.shape[1]
    devices = [batch.ids.device] if batch.ids.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.no_grad():
        torch.manual_seed(seed)
        whole = model.generate(
            input_ids=batch.ids,
            attention_mask=(batch.logical >= 0).long(),
            generation_config=config,
            logits_processor=[_refuse_not_finite],
            stopping_criteria=None if progress is None else [_tick_criterion(progress, before, max_new_tokens)],
        )
    ends = _ends(own)
    rows = whole[:, before:].cpu().numpy().astype(np.int64)
    return [ids[: next((i for i, t in enumerate(ids.tolist()) if t in ends), len(ids))] for ids in rows]


def generate_stepwise(
    model: Any, batch: Batch, *, pad: int, max_new_tokens: int, attached: Callable[[], AbstractContextManager[None]]
) -> Iterator[int]:
    """Yield what a transformers model writes after one prompt, the likeliest token each time, up to its end token.

    Between tokens nothing is attached to the model: others may use it.

    Args:
        model: the transformers model.
        batch: one prompt.
        pad: the padding token.
        max_new_tokens: most tokens to write.
        attached: gives the context in which a step runs.

    Yields:
        int: one id per step.

    Raises:
        PatchclampError: the logits to choose from are not finite.

    Cost: one forward pass per token, when it is asked for; of one token where the model's cache can be handed back,
    else of all.
    """
    own, ids = model.generation_config, batch.ids
    config = _config(own, pad, max_new_tokens=1, do_sample=False, use_cache=True, return_dict_in_generate=True)
    kept: dict[str, Any] = {}
    for _ in range(max_new_tokens):
        with attached(), torch.no_grad():
            done = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                generation_config=config,
                logits_processor=[_refuse_not_finite],
                **kept,
            )
        ids = done.sequences
        kept = _cache_of(done)
        token = int(ids[0, -1])
        if token in _ends(own):
            return
        yield token


def _cache_of(done: Any) -> dict[str, Any]:
    """Return the cache that a call gave back, under its name, where the next call can go on from it.

    It can where every layer has its whole past in that cache as keys and values. The past of a state-space layer may
    lie in the module itself, where others overwrite it, and transformers would add the whole text to it once more:
    then, and where a model uses no cache, nothing is kept and everything is read again.
    """
    from transformers.cache_utils import DynamicCache

    name = next((name for name in ("cache", "past_key_values") if name in done), "")
    cache = done[name] if name else None
    if type(cache) is not DynamicCache or not all(hasattr(layer, "get_seq_length") for layer in cache.layers):
        return {}
    return {name: cache} if cache.get_seq_length() else {}


def check_logits(logits: Float[Tensor, "... token"]) -> None:
    """Refuse logits that no token can be chosen from; minus infinity rules a token out, no more.

    Raises:
        PatchclampError: NaN, infinity, or every token ruled out.
    """
    if bool((logits.isnan() | (logits == torch.inf)).any() | (logits == -torch.inf).all(-1).any()):
        raise PatchclampError(
            expected="finite logits to choose the next token from",
            got="NaN or infinite ones",
            remedy="Clamp to smaller values, use --dtype float32, or fetch the weights again if they are damaged.",
        )


def _refuse_not_finite(_ids: Tensor, logits: Tensor) -> Tensor:
    """Return logits as they are, checked; transformers calls it once per step."""
    check_logits(logits)
    return logits


def _config(own: Any, pad: int, **how: Any) -> Any:
    """Return how to generate; of the model's own settings only its special tokens count."""
    from transformers import GenerationConfig

    return GenerationConfig(
        eos_token_id=own.eos_token_id,
        bos_token_id=own.bos_token_id,
        pad_token_id=pad if own.pad_token_id is None else own.pad_token_id,
        **how,
    )


def _ends(own: Any) -> list[int | None]:
    return own.eos_token_id if isinstance(own.eos_token_id, list) else [own.eos_token_id]


def _tick_criterion(progress: Progress, before: int, steps: int) -> Callable[..., Tensor]:
    """Return a stopping criterion that never stops: transformers calls it once per step."""

    def tick(ids: Tensor, _scores: Any, **_options: Any) -> Tensor:
        progress(ids.shape[1] - before, steps)
        return torch.zeros(ids.shape[0], dtype=torch.bool, device=ids.device)

    return tick
