"""Phi-3: Llama with one projection for queries, keys and values, and one for both sides of the gate."""

from dataclasses import replace
from typing import Any

from patchclamp.subjects.engine import Chunk
from patchclamp.subjects.families import llama
from patchclamp.subjects.families.spec import enlarge


def tiny() -> Any:
    """Make a 2-layer random Phi-3 of width 32 whose window is shorter than the probes."""
    from transformers import Phi3Config, Phi3ForCausalLM

    config = Phi3Config(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        vocab_size=61,
        max_position_embeddings=64,
        original_max_position_embeddings=64,
        sliding_window=4,
        bos_token_id=0,
        eos_token_id=60,
        pad_token_id=59,
    )
    return enlarge(Phi3ForCausalLM(config), weight=0.3)


FAMILY = replace(
    llama.FAMILY,
    name="phi3",
    classes=("Phi3ForCausalLM",),
    block={
        **llama.FAMILY.block,
        "mlp.pre": Chunk("mlp.gate_up_proj", "out", index=0),
        "mlp.up": Chunk("mlp.gate_up_proj", "out", index=1),
    },
    nonlinearity="mlp.activation_fn",
    window=lambda module: module.config.sliding_window,
    tiny=tiny,
)
