"""What a language model writes by itself, and recordings of it joined in memory."""

from collections.abc import Iterator, Sequence

import numpy as np

from patchclamp.core.errors import PatchclampError
from patchclamp.core.recording import Recording
from patchclamp.core.stimulus import Stimulus
from patchclamp.subjects.language import LanguageModel

WINDOW, ROWS, MOST = 48, 16, 10_000
"""Tokens of a text, texts that are written together, and batches at most."""


def write_text(model: LanguageModel, *, seed: int = 0) -> Iterator[tuple[Stimulus, ...]]:
    """Yield batches of texts that a model samples at temperature 1, without end but for ``MOST``.

    Args:
        model: continues text.
        seed: of the sampling.

    Raises:
        PatchclampError: a model that does not continue text, or whose tokenizer has no token to begin with.
    """
    bare = model.tokenizer.bare
    first = bare.bos_token_id if bare.bos_token_id is not None else bare.eos_token_id
    if first is None:
        raise PatchclampError(
            expected="a token that begins or ends texts, after which the model writes",
            got=f"none in the tokenizer of {model.name}",
            remedy="Give a file of ordinary text.",
        )
    room = WINDOW if model.context is None else min(WINDOW, model.context - 1)
    for batch in range(MOST):
        made = model.generate([(int(first),)] * ROWS, max_new_tokens=room, temperature=1.0, seed=seed + batch)
        texts = [one.text for one in made if one.text.strip()]
        if not texts:
            raise PatchclampError(
                expected="a model that writes text", got="only empty texts", remedy="Give a file of ordinary text."
            )
        yield tuple(one for one in map(model.tokenize, texts) if model.context is None or len(one) <= model.context)


def join_recordings(parts: Sequence[Recording], model: LanguageModel) -> Recording:
    """Return recordings of one model's sites as one.

    Raises:
        PatchclampError: none.
    """
    if not parts:
        raise PatchclampError(expected="some text", got="none", remedy="Give a text file that is not empty.")
    values = {site: np.concatenate([part[site] for part in parts]) for site in parts[0].values}
    about = {"subject": {"slug": model.name, "hash": model.hash}}
    return Recording(tuple(one for part in parts for one in part.stimuli), values, parts[0].sites, about)
