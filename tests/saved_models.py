"""Small random models and tokenizers in folders, as transformers saves them."""

from pathlib import Path
from typing import Any

import transformers

from patchclamp.subjects.families.spec import enlarge


def save(folder: Path, name: str, config: dict, *, weight: float = 0.3) -> Any:
    """Save a random model of a class under its config, large enough that every part bites, and return it."""
    kind = getattr(transformers, name)
    made = enlarge(kind(kind.config_class(**config)), weight=weight)
    made.save_pretrained(folder)
    return made


def add_tokenizer(folder: Path, *, words: int = 60, template: str | None = None) -> None:
    """Put a tokenizer of the words w0, w1, … into a folder."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    rules = Tokenizer(models.WordLevel({f"w{i}": i for i in range(words)} | {"<unk>": words}, unk_token="<unk>"))
    rules.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=rules, unk_token="<unk>")
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
