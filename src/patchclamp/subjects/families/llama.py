"""Llama: pre-norm (RMS), sequential, rotary, grouped key-value heads, gated MLP."""

from typing import Any

from patchclamp.subjects.engine import Place
from patchclamp.subjects.families.spec import Family, attention_sites, enlarge, mlp_sites


def tiny() -> Any:
    """Make a 3-layer random Llama of width 32 with 2 key-value heads for 4 query heads."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        num_hidden_layers=3,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        vocab_size=61,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=60,
    )
    return enlarge(LlamaForCausalLM(config), weight=0.3)


FAMILY = Family(
    name="llama",
    classes=("LlamaForCausalLM",),
    blocks="model.layers",
    final="model.norm",
    block={
        **attention_sites("self_attn", "o_proj"),
        "resid_mid": Place("post_attention_layernorm", "in", shared=True),
        **mlp_sites("mlp", pre="gate_proj", up="up_proj", act="down_proj"),
    },
    nonlinearity="mlp.act_fn",
    entry_norms=("input_layernorm", "post_attention_layernorm"),
    tiny=tiny,
)
