"""OLMo 2: norms after attention and MLP only, none before them; norms on queries and keys."""

from dataclasses import replace
from typing import Any

from patchclamp.subjects.engine import Place
from patchclamp.subjects.families import llama
from patchclamp.subjects.families.spec import enlarge


def tiny() -> Any:
    """Make a 2-layer random OLMo 2 of width 32."""
    from transformers import Olmo2Config, Olmo2ForCausalLM

    config = Olmo2Config(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        vocab_size=61,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=60,
        pad_token_id=59,
    )
    return enlarge(Olmo2ForCausalLM(config), weight=0.3)


FAMILY = replace(
    llama.FAMILY,
    name="olmo2",
    classes=("Olmo2ForCausalLM",),
    block={
        **llama.FAMILY.block,
        "attn.write": Place("post_attention_layernorm", "out"),
        "resid_mid": Place("mlp", "in", shared=True),
        "mlp.write": Place("post_feedforward_layernorm", "out"),
    },
    entry_norms=(),
    readers=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj"),
    exit_norms=("post_attention_layernorm", "post_feedforward_layernorm"),
    tiny=tiny,
)
