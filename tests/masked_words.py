"""Tiny encoders that read single words, one of them the mask."""

from patchclamp.subjects.families.spec import family


def tokenizer():
    """Return a tokenizer of the words w0 to w19 and a full stop, which puts [CLS] and [SEP] around a text."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(20)), "."]
    rules = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    rules.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    rules.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=rules, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]",
    )  # fmt: skip


def module(name: str):
    """Return the tiny model of a family whose logits are far enough apart for no case to be skipped."""
    import torch

    found = family(name).tiny()
    with torch.no_grad():
        found.get_output_embeddings().weight.mul_(30)
    return found


def encoder(name: str):
    """Return the model and its tokenizer as a subject."""
    from patchclamp.subjects.language import LanguageModel

    return LanguageModel(module(name), tokenizer(), name=f"tiny-{name}")
