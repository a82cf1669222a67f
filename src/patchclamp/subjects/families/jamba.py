"""Jamba: a hybrid. Most blocks mix positions by a state-space model (Mamba), a few by attention; no position ids."""

from dataclasses import replace
from typing import Any

from patchclamp.subjects.engine import Place
from patchclamp.subjects.families import llama
from patchclamp.subjects.families.spec import attention_sites, enlarge, mlp_sites


def tiny() -> Any:
    """Make a 2-layer random Jamba of width 32: a state-space block, then one of attention."""
    from transformers import JambaConfig, JambaForCausalLM

    config = JambaConfig(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        attn_layer_period=2,
        attn_layer_offset=1,
        num_experts=1,
        num_experts_per_tok=1,
        mamba_d_state=4,
        mamba_d_conv=3,
        vocab_size=61,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=60,
        pad_token_id=59,
    )
    return enlarge(JambaForCausalLM(config), weight=0.3)


ATTENTION = attention_sites("self_attn", "o_proj")
STATE_SPACE = {"ssm.z": Place("mamba.out_proj", "in"), "ssm.write": Place("mamba", "out")}
WHY = "the state-space mixer has no rule"

FAMILY = replace(
    llama.FAMILY,
    name="jamba",
    classes=("JambaForCausalLM",),
    final="model.final_layernorm",
    block={
        **ATTENTION,
        **STATE_SPACE,
        "resid_mid": Place("pre_ff_layernorm", "in", shared=True),
        **mlp_sites("feed_forward", pre="gate_proj", up="up_proj", act="down_proj"),
    },
    nonlinearity="feed_forward.act_fn",
    entry_norms=("input_layernorm", "pre_ff_layernorm"),
    positions=False,
    varying=frozenset({*ATTENTION, *STATE_SPACE}),
    widths={"ssm.z": lambda config: config.mamba_expand * config.hidden_size},
    misfit=lambda config: "" if config.num_experts == 1 else "its blocks with experts have another MLP",
    underived={"identity": WHY, "half": WHY, "ah": WHY},
    tiny=tiny,
)
