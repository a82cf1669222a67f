"""The word-level tokenizer of planted organisms, one token per word, the space before it included."""

import re
from collections.abc import Sequence
from typing import Any

from patchclamp.organisms.planted.circuit_spec import BOS, EOS, SPECIAL, UNKNOWN


def tokens_of(vocabulary: Sequence[str]) -> tuple[str, ...]:
    """Return a vocabulary as tokens: words carry the space before them, punctuation and special tokens do not.

    Example:
        >>> tokens_of(["<bos>", ".", "cat"])
        ('<bos>', '.', '▁cat')
    """
    return tuple(word if word in SPECIAL or not word[0].isalnum() else f"▁{word}" for word in vocabulary)


def word_tokenizer(tokens: Sequence[str], *, context: int, lowercase: bool = False) -> Any:
    """Make the tokenizer.

    Args:
        tokens: every token in the order of ids, special ones included.
        context: most tokens that the model takes.
        lowercase: whether capitals are written small first.

    Returns:
        PreTrainedTokenizerFast: one that begins every text with ``<bos>``.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    rules = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token=UNKNOWN))
    stops = "".join(re.escape(token) for token in tokens if token not in SPECIAL and not token.startswith("▁"))
    # Spaces that no word follows are dropped and others become one, for there is no token for a space alone.
    spaces = [
        normalizers.Replace(Regex(rf"\s+(?=[{stops}]|$)"), ""),
        normalizers.Replace(Regex(r"\s+"), " "),
    ]
    rules.normalizer = normalizers.Sequence([normalizers.Lowercase(), *spaces] if lowercase else spaces)
    # The first word gets its space too, so that it is the same token; a text that opens with a stop gets none.
    rules.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(prepend_scheme="always"),
            pre_tokenizers.Punctuation(),
            pre_tokenizers.Split(Regex("^▁$"), "removed"),
        ]
    )
    rules.decoder = decoders.Metaspace()
    rules.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, tokens.index(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=rules, bos_token=BOS, eos_token=EOS, unk_token=UNKNOWN, model_max_length=context
    )
