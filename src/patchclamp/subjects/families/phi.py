"""Phi 1 and 2: parallel residual behind one norm, rotary over a part of each head, biases everywhere."""

from typing import Any

from patchclamp.subjects.families.spec import Family, attention_sites, enlarge, mlp_sites


def tiny() -> Any:
    """Make a 2-layer random Phi of width 32, half of each head rotated."""
    from transformers import PhiConfig, PhiForCausalLM

    config = PhiConfig(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
        vocab_size=61,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=60,
    )
    return enlarge(PhiForCausalLM(config), weight=0.3)


FAMILY = Family(
    name="phi",
    classes=("PhiForCausalLM",),
    blocks="model.layers",
    final="model.final_layernorm",
    block={**attention_sites("self_attn", "dense"), **mlp_sites("mlp", pre="fc1", act="fc2")},
    nonlinearity="mlp.activation_fn",
    entry_norms=("input_layernorm",),
    parallel=True,
    tiny=tiny,
)
