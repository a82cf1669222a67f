"""Granite: Llama with numbers of its config: on the embedding, on scores, on what is added, and under the logits."""

from dataclasses import replace
from typing import Any

from patchclamp.subjects.engine import Scaled
from patchclamp.subjects.families import llama
from patchclamp.subjects.families.spec import enlarge


def tiny() -> Any:
    """Make a 2-layer random Granite of width 32, none of whose numbers is 1."""
    from transformers import GraniteConfig, GraniteForCausalLM

    config = GraniteConfig(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        embedding_multiplier=3.0,
        attention_multiplier=0.25,
        # A power of two: by it a hand-written hook divides what it adds without rounding.
        residual_multiplier=0.5,
        logits_scaling=4.0,
        vocab_size=61,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=60,
    )
    return enlarge(GraniteForCausalLM(config), weight=0.3)


FAMILY = replace(
    llama.FAMILY,
    name="granite",
    classes=("GraniteForCausalLM",),
    block={
        **llama.FAMILY.block,
        "attn.write": Scaled("self_attn", "out", by="residual_multiplier"),
        "mlp.write": Scaled("mlp", "out", by="residual_multiplier"),
    },
    logit_factor=lambda config: 1 / config.logits_scaling,
    tiny=tiny,
)
