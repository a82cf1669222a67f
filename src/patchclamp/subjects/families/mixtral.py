"""Mixtral: Llama whose MLPs are all mixtures of experts, the shares of the chosen ones summing to 1."""

from dataclasses import replace
from typing import Any

from patchclamp.subjects.engine import Place
from patchclamp.subjects.families import llama
from patchclamp.subjects.families.spec import EXPERT_WIDTHS, UNDERIVED_EXPERTS, enlarge, expert_sites


def tiny() -> Any:
    """Make a 2-layer random Mixtral of width 32: 4 experts of which each token meets 2, and a short window."""
    from transformers import MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=24,
        num_local_experts=4,
        num_experts_per_tok=2,
        sliding_window=4,
        vocab_size=61,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=60,
    )
    return enlarge(MixtralForCausalLM(config), weight=0.3)


FAMILY = replace(
    llama.FAMILY,
    name="mixtral",
    classes=("MixtralForCausalLM",),
    block={
        **{kind: place for kind, place in llama.FAMILY.block.items() if not kind.startswith("mlp.")},
        **expert_sites("mlp.gate", "mlp.experts"),
        "mlp.write": Place("mlp", "out"),
    },
    nonlinearity="mlp.experts.act_fn",
    window=lambda module: module.config.sliding_window,
    widths=EXPERT_WIDTHS,
    underived=UNDERIVED_EXPERTS,
    tiny=tiny,
)
