"""Cohere (Command R): parallel residual behind one norm, interleaved rotary, logits scaled."""

from dataclasses import replace
from typing import Any

from patchclamp.subjects.families import llama
from patchclamp.subjects.families.spec import enlarge


def tiny() -> Any:
    """Make a 2-layer random Cohere of width 32 with norms on queries and keys."""
    from transformers import CohereConfig, CohereForCausalLM

    config = CohereConfig(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        logit_scale=0.5,
        use_qk_norm=True,
        vocab_size=61,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=60,
        pad_token_id=59,
    )
    return enlarge(CohereForCausalLM(config), weight=0.3)


FAMILY = replace(
    llama.FAMILY,
    name="cohere",
    classes=("CohereForCausalLM",),
    block={name: place for name, place in llama.FAMILY.block.items() if name != "resid_mid"},
    entry_norms=("input_layernorm",),
    parallel=True,
    logit_factor=lambda config: config.logit_scale,
    tiny=tiny,
)
