"""GPT-2: pre-norm, sequential, learned positions, fused qkv in Conv1D."""

from typing import Any

from patchclamp.subjects.engine import Place
from patchclamp.subjects.families.spec import Family, attention_sites, enlarge, mlp_sites


def tiny() -> Any:
    """Make a 3-layer random GPT-2 of width 32."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        n_layer=3,
        n_embd=32,
        n_head=4,
        vocab_size=61,
        n_positions=64,
        bos_token_id=0,
        eos_token_id=60,
    )
    return enlarge(GPT2LMHeadModel(config), weight=0.3)


FAMILY = Family(
    name="gpt2",
    classes=("GPT2LMHeadModel",),
    blocks="transformer.h",
    final="transformer.ln_f",
    block={
        **attention_sites("attn", "c_proj"),
        "resid_mid": Place("ln_2", "in", shared=True),
        **mlp_sites("mlp", pre="c_fc", act="c_proj"),
    },
    nonlinearity="mlp.act",
    entry_norms=("ln_1", "ln_2"),
    tiny=tiny,
)
