"""BLOOM: ALiBi for positions, queries, keys and values interleaved head by head, attention written out."""

import sys
from typing import Any

import torch
from torch import Tensor

from patchclamp.subjects.engine import Place
from patchclamp.subjects.families.spec import Family, attention_sites, enlarge


def tiny() -> Any:
    """Make a 2-layer random BLOOM of width 32; its embedding is normed before the first block."""
    from transformers import BloomConfig, BloomForCausalLM

    config = BloomConfig(n_layer=2, hidden_size=32, n_head=4, vocab_size=61, bos_token_id=0, eos_token_id=60)
    return enlarge(BloomForCausalLM(config), weight=0.3)


def alibi(module: Any, n: int) -> Tensor:
    """Return what is added to the scores for the distance, by head and source, as the module's own file has it."""
    build = sys.modules[type(module).__module__].build_alibi_tensor
    bias: Tensor = build(torch.ones(1, n, dtype=torch.int64), module.num_heads, torch.float32)
    return bias.view(module.num_heads, 1, n)


def misfit(config: Any) -> str:
    """Return how a config departs."""
    if config.apply_residual_connection_post_layernorm:
        return "its residual branches begin behind the norms"
    sliced = config.pretraining_tp > 1 and config.slow_but_exact
    return "its output projections are computed in slices" if sliced else ""


FAMILY = Family(
    name="bloom",
    classes=("BloomForCausalLM",),
    blocks="transformer.h",
    final="transformer.ln_f",
    block={
        **attention_sites("self_attention", "dense"),
        # The modules themselves add the residual to what they give.
        "attn.write": Place("self_attention.dense", "out"),
        "resid_mid": Place("post_attention_layernorm", "in", shared=True),
        "mlp.pre": Place("mlp.dense_h_to_4h", "out"),
        "mlp.act": Place("mlp.dense_4h_to_h", "in"),
        "mlp.write": Place("mlp.dense_4h_to_h", "out"),
    },
    nonlinearity="mlp.gelu_impl",
    entry_norms=("input_layernorm", "post_attention_layernorm"),
    positions=False,
    scale=lambda module: module.inv_norm_factor,
    score_bias=alibi,
    written_out=True,
    misfit=misfit,
    tiny=tiny,
)
