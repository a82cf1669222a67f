"""Qwen 2 and 2.5: Llama with biases on queries, keys and values, and sliding windows in some blocks."""

from dataclasses import replace
from typing import Any

from patchclamp.subjects.families import llama
from patchclamp.subjects.families.spec import enlarge


def tiny() -> Any:
    """Make a 2-layer random Qwen 2 of width 32; the second block has a window shorter than the probes."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        vocab_size=61,
        max_position_embeddings=64,
        use_sliding_window=True,
        sliding_window=4,
        max_window_layers=1,
        bos_token_id=0,
        eos_token_id=60,
    )
    return enlarge(Qwen2ForCausalLM(config), weight=0.3)


FAMILY = replace(
    llama.FAMILY,
    name="qwen2",
    classes=("Qwen2ForCausalLM",),
    towers=("qwen2_vl_text", "qwen2_5_vl_text"),
    tiny=tiny,
)
