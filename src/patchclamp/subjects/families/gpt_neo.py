"""GPT-Neo: GPT-2 with unscaled scores, and a window in every other block; outside the attention interface."""

from dataclasses import replace
from typing import Any

from patchclamp.subjects.families import gpt2
from patchclamp.subjects.families.spec import attention_sites, enlarge


def tiny() -> Any:
    """Make a 2-layer random GPT-Neo of width 32; the second block's window is shorter than the probes."""
    from transformers import GPTNeoConfig, GPTNeoForCausalLM

    config = GPTNeoConfig(
        num_layers=2,
        hidden_size=32,
        num_heads=4,
        attention_types=[[["global", "local"], 1]],
        window_size=4,
        vocab_size=61,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=60,
    )
    return enlarge(GPTNeoForCausalLM(config), weight=0.3)


FAMILY = replace(
    gpt2.FAMILY,
    name="gpt_neo",
    classes=("GPTNeoForCausalLM",),
    block={**gpt2.FAMILY.block, **attention_sites("attn.attention", "out_proj")},
    scale=lambda module: 1.0,
    window=lambda module: module.config.window_size if module.attention_type == "local" else None,
    attention_method="_attn",
    tiny=tiny,
)
