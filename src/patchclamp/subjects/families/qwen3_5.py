"""Qwen 3.5: gated delta rules in most blocks; in the others attention whose heads pass an output gate."""

from dataclasses import replace
from typing import Any

from patchclamp.subjects.engine import HeadChunk, Place
from patchclamp.subjects.families import gemma
from patchclamp.subjects.families.spec import attention_sites, enlarge

LINEAR: dict[str, Any] = {
    "linear_conv_kernel_dim": 3,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 6,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "layer_types": ["linear_attention", "full_attention"],
}
"""What a tiny config says of its two blocks."""


def tiny() -> Any:
    """Make a 2-layer random Qwen 3.5 of width 32: a block with a gated delta rule, then one with attention."""
    from transformers import Qwen3_5ForCausalLM, Qwen3_5TextConfig

    config = Qwen3_5TextConfig(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=48,
        vocab_size=61,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=60,
        **LINEAR,
    )
    return enlarge(Qwen3_5ForCausalLM(config), weight=0.3)


ATTENTION = {**attention_sites("self_attn", "o_proj"), "attn.gate": HeadChunk("self_attn.q_proj", "out", index=1)}
DELTA = {"ssm.z": Place("linear_attn.out_proj", "in"), "ssm.write": Place("linear_attn", "out")}
WHY = "the gated delta rule and the output gate of attention have no rule"

FAMILY = replace(
    gemma.FAMILY,
    name="qwen3_5",
    classes=("Qwen3_5ForCausalLM",),
    block={
        "attn.gate": ATTENTION["attn.gate"],
        **ATTENTION,
        **DELTA,
        **{kind: place for kind, place in gemma.FAMILY.block.items() if not kind.startswith("attn.")},
    },
    varying=frozenset({*ATTENTION, *DELTA}),
    widths={"ssm.z": lambda config: config.linear_num_value_heads * config.linear_value_head_dim},
    misfit=lambda config: "",
    underived=dict.fromkeys(("identity", "half", "ah"), WHY),
    unseen={"inside the gated delta rule": "its state has no pattern over positions: what it gives is ssm.z"},
    tiny=tiny,
)
