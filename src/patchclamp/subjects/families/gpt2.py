"""GPT-2: pre-norm, sequential, learned positions, fused qkv in Conv1D."""

from typing import Any

from patchclamp.subjects.engine import Place, Tap
from patchclamp.subjects.families.spec import Family, enlarged


def tiny() -> Any:
    """Make a 3-layer random GPT-2 of width 32."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        n_layer=3, n_embd=32, n_head=4, vocab_size=61, n_positions=64, bos_token_id=0, eos_token_id=60,
    )  # fmt: skip
    return enlarged(GPT2LMHeadModel(config), weight=0.3)


FAMILY = Family(
    name="gpt2",
    classes=("GPT2LMHeadModel",),
    blocks="transformer.h",
    final="transformer.ln_f",
    block={
        "attn.q": Tap("attn", "q"),
        "attn.k": Tap("attn", "k"),
        "attn.v": Tap("attn", "v"),
        "attn.pattern": Tap("attn", "pattern"),
        "attn.z": Place("attn.c_proj", "in"),
        "attn.write": Place("attn", "out"),
        "resid_mid": Place("ln_2", "in", shared=True),
        "mlp.pre": Place("mlp.c_fc", "out"),
        "mlp.act": Place("mlp.c_proj", "in"),
        "mlp.write": Place("mlp", "out"),
    },
    nonlinearity="mlp.act",
    tiny=tiny,
)
