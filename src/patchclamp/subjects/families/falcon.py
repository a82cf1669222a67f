"""Falcon: parallel residual behind one norm or two, one key-value head or groups of them, attention written out.

With the 40B architecture every query head has a copy of its group's keys and values: sites show the copies.
"""

from typing import Any

from torch import Tensor

from patchclamp.subjects.engine import Overwritten
from patchclamp.subjects.families.bloom import alibi
from patchclamp.subjects.families.spec import Family, attention_sites, enlarge, mlp_sites


def tiny(**wiring: Any) -> Any:
    """Make a 2-layer random Falcon of width 32 with one key-value head."""
    from transformers import FalconConfig, FalconForCausalLM

    config = FalconConfig(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        ffn_hidden_size=48,
        vocab_size=61,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=60,
        **wiring,
    )
    return enlarge(FalconForCausalLM(config), weight=0.3)


def is_parallel(config: Any) -> bool:
    """Return whether attention and MLP read the same residual."""
    return bool(config.new_decoder_architecture or config.parallel_attn)


def key_heads(config: Any) -> int:
    """Return the number of key-value heads that the attention function gets."""
    one = config.multi_query and not config.new_decoder_architecture
    return 1 if one else int(config.num_attention_heads)


def score_bias(module: Any, n: int) -> Tensor | None:
    """Return the scaled ALiBi of a config that has it."""
    return alibi(module, n) * module.inv_norm_factor if module.config.alibi else None


FAMILY = Family(
    name="falcon",
    classes=("FalconForCausalLM",),
    blocks="transformer.h",
    final="transformer.ln_f",
    block={
        **attention_sites("self_attention", "dense"),
        **mlp_sites("mlp", pre="dense_h_to_4h", act="dense_4h_to_h"),
        "mlp.write": Overwritten("mlp", "out"),
    },
    nonlinearity="mlp.act",
    entry_norms=("input_layernorm", "ln_attn", "ln_mlp"),
    varying=frozenset({"resid_mid"}),
    parallel=True,
    scale=lambda module: module.inv_norm_factor,
    score_bias=score_bias,
    key_heads=key_heads,
    written_out=True,
    widths=dict.fromkeys(("mlp.pre", "mlp.act"), lambda config: config.ffn_hidden_size),
    misfit=lambda config: "" if is_parallel(config) else "its MLP reads what its attention added",
    tiny=tiny,
)
