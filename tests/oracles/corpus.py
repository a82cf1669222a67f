"""A corpus of text cut naively: all tokens at once, in memory, one list per stimulus."""

from typing import Any


def cut(
    tokenizer: Any, text: str, *, window: int, bos: bool = True, skip_first: int = 0, max_tokens: int | None = None
) -> list[tuple[list[int], list[bool]]]:
    """Return ids of each stimulus, and which of its tokens count."""
    ids = tokenizer.bare(text, add_special_tokens=False)["input_ids"]
    before, after = (tokenizer.prefix, tokenizer.suffix) if bos else ([], [])
    room = window - len(before) - len(after)
    left, stimuli = len(text) * 9 if max_tokens is None else max_tokens, []
    for start in range(0, len(ids), room):
        whole = [*before, *ids[start : start + room], *after][:left]
        left -= len(whole)
        if whole:
            stimuli.append((whole, [i not in tokenizer.special and at >= skip_first for at, i in enumerate(whole)]))
    return stimuli
