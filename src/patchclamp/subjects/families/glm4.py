"""GLM-4 (0414): Phi-3's fused gate, a norm after each sublayer too, and rotary positions on half of each head."""

from dataclasses import replace
from typing import Any

from patchclamp.subjects.engine import Chunk, Place
from patchclamp.subjects.families import llama
from patchclamp.subjects.families.spec import enlarge


def tiny() -> Any:
    """Make a 2-layer random GLM-4 of width 32."""
    from transformers import Glm4Config, Glm4ForCausalLM

    config = Glm4Config(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=48,
        attention_bias=True,
        vocab_size=61,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=60,
        pad_token_id=59,
    )
    return enlarge(Glm4ForCausalLM(config), weight=0.3)


FAMILY = replace(
    llama.FAMILY,
    name="glm4",
    classes=("Glm4ForCausalLM",),
    block={
        **llama.FAMILY.block,
        "attn.write": Place("post_self_attn_layernorm", "out"),
        "mlp.pre": Chunk("mlp.gate_up_proj", "out", index=0),
        "mlp.up": Chunk("mlp.gate_up_proj", "out", index=1),
        "mlp.write": Place("post_mlp_layernorm", "out"),
    },
    nonlinearity="mlp.activation_fn",
    exit_norms=("post_self_attn_layernorm", "post_mlp_layernorm"),
    tiny=tiny,
)
