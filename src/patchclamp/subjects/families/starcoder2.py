"""StarCoder 2: Llama with layer norms, biases, a window, and GPT-2's MLP without a gate."""

from dataclasses import replace
from typing import Any

from patchclamp.subjects.families import mistral
from patchclamp.subjects.families.spec import enlarge, mlp_sites


def tiny() -> Any:
    """Make a 2-layer random StarCoder 2 of width 32 whose window is shorter than the probes."""
    from transformers import Starcoder2Config, Starcoder2ForCausalLM

    config = Starcoder2Config(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        sliding_window=4,
        vocab_size=61,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=60,
    )
    return enlarge(Starcoder2ForCausalLM(config), weight=0.4)


FAMILY = replace(
    mistral.FAMILY,
    name="starcoder2",
    classes=("Starcoder2ForCausalLM",),
    block={
        **{name: place for name, place in mistral.FAMILY.block.items() if name != "mlp.up"},
        **mlp_sites("mlp", pre="c_fc", act="c_proj"),
    },
    nonlinearity="mlp.act",
    tiny=tiny,
)
