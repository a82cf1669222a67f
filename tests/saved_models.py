"""Small random models and tokenizers in folders, as transformers saves them."""

from pathlib import Path
from typing import Any

import torch
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


def make_adapter(folder: Path, base: Path, config: Any = None) -> None:
    """Save an adapter of a model in a folder; a LoRA where no other kind is asked for."""
    import peft

    config = config or peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"])
    made = peft.get_peft_model(transformers.AutoModelForCausalLM.from_pretrained(base), config)
    made.peft_config["default"].base_model_name_or_path = str(base)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in made.named_parameters():
        # As PEFT makes them they change nothing.
        if any(part in name for part in ("lora", "ia3", "hada", "oft", "modules_to_save")):
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    made.save_pretrained(folder)
