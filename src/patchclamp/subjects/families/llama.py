"""Llama: pre-norm (RMS), sequential, rotary, grouped key-value heads, gated MLP."""

from typing import Any

from patchclamp.subjects.engine import Place, Tap
from patchclamp.subjects.families.spec import Family, enlarged


def tiny() -> Any:
    """Make a 3-layer random Llama of width 32 with 2 key-value heads for 4 query heads."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        num_hidden_layers=3, hidden_size=32, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48,
        vocab_size=61, max_position_embeddings=64, bos_token_id=0, eos_token_id=60,
    )  # fmt: skip
    return enlarged(LlamaForCausalLM(config), weight=0.3)


FAMILY = Family(
    name="llama",
    classes=("LlamaForCausalLM",),
    blocks="model.layers",
    final="model.norm",
    block={
        "attn.q": Tap("self_attn", "q"),
        "attn.k": Tap("self_attn", "k"),
        "attn.v": Tap("self_attn", "v"),
        "attn.pattern": Tap("self_attn", "pattern"),
        "attn.z": Place("self_attn.o_proj", "in"),
        "attn.write": Place("self_attn", "out"),
        "resid_mid": Place("post_attention_layernorm", "in", shared=True),
        "mlp.pre": Place("mlp.gate_proj", "out"),
        "mlp.up": Place("mlp.up_proj", "out"),
        "mlp.act": Place("mlp.down_proj", "in"),
        "mlp.write": Place("mlp", "out"),
    },
    nonlinearity="mlp.act_fn",
    tiny=tiny,
)
