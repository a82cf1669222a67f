"""Shape: a random-weight model in the shape of GPT-2 small, with a tokenizer and text, made in memory.

Speed depends on a model's shape, not on what it knows, so nothing is downloaded.
"""

import random
from pathlib import Path
from typing import Any

import timing
import torch

from patchclamp.subjects.language import LanguageModel

VOCABULARY, CONTEXT = 50257, 1024
N_LAYERS, D_MODEL, N_HEADS = 12, 768, 12
SITES = [f"blocks.{i}.{kind}" for i in range(N_LAYERS) for kind in ("attn.write", "mlp.write", "resid_out")]


def gpt2(seed: int = 0) -> Any:
    """Return a GPT2LMHeadModel with random weights, 124 million parameters."""
    from transformers import GPT2Config, GPT2LMHeadModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.manual_seed(seed)
    config = GPT2Config(
        n_layer=N_LAYERS, n_embd=D_MODEL, n_head=N_HEADS, vocab_size=VOCABULARY, n_positions=CONTEXT,
        bos_token_id=VOCABULARY - 1, eos_token_id=VOCABULARY - 1,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


def words(n: int = VOCABULARY) -> Any:
    """Return a tokenizer of ``n`` tokens, the words ``w1``, ``w2`` and so on; it puts nothing before a text."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    ids = {"<unknown>": 0, **{f"w{i}": i for i in range(1, n - 1)}, "<end>": n - 1}
    bare = Tokenizer(models.WordLevel(ids, unk_token="<unknown>"))
    bare.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=bare, unk_token="<unknown>", eos_token="<end>", pad_token="<end>")


def subject(module: Any = None) -> LanguageModel:
    """Return model and tokenizer in the rig."""
    return LanguageModel(module or gpt2(), words(), name="gpt2-shape")


def write_text(path: Path, n_tokens: int, *, seed: int = 0) -> Path:
    """Write a text of as many tokens, sixteen words a line; words are as unequally frequent as in a language (Zipf)."""
    draw = random.Random(seed)
    ranks = range(1, VOCABULARY - 1)
    drawn = draw.choices(ranks, weights=[1 / r for r in ranks], k=n_tokens)
    lines = (" ".join(f"w{i}" for i in drawn[k : k + 16]) for k in range(0, n_tokens, 16))
    path.write_text("\n".join(lines) + "\n")
    return path


def ids(rows: int, columns: int, *, seed: int = 0) -> torch.Tensor:
    """Return ``(rows, columns)`` random token ids."""
    return torch.randint(1, VOCABULARY - 1, (rows, columns), generator=torch.Generator().manual_seed(seed))


if __name__ == "__main__":
    torch.set_num_threads(2)
    model = gpt2()
    shown = ids(8, 128)
    with torch.no_grad():
        tasks = {
            "with unembedding": lambda: model(shown, use_cache=False),
            "without": lambda: model.transformer(shown, use_cache=False),
        }
        timing.alternate(tasks, 1)
        spent = timing.alternate(tasks, 3)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters; one forward pass of 8 x 128 tokens:")
    rows = [[name, f"{timing.median(s).wall_s:.2f}", f"{timing.median(s).cpu_s:.2f}"] for name, s in spent.items()]
    timing.show(["", "wall s", "cpu s"], rows)
