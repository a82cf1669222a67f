"""GPT-NeoX and Pythia: parallel residual, rotary, fused qkv per head."""

from typing import Any

from patchclamp.subjects.families.spec import Family, attention_sites, enlarge, mlp_sites


def tiny(*, parallel: bool = True) -> Any:
    """Make a 3-layer random GPT-NeoX of width 32."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    config = GPTNeoXConfig(
        num_hidden_layers=3,
        hidden_size=32,
        num_attention_heads=4,
        intermediate_size=96,
        vocab_size=61,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=60,
        use_parallel_residual=parallel,
    )
    return enlarge(GPTNeoXForCausalLM(config), weight=0.3)


FAMILY = Family(
    name="gpt_neox",
    classes=("GPTNeoXForCausalLM",),
    blocks="gpt_neox.layers",
    final="gpt_neox.final_layer_norm",
    block={
        **attention_sites("attention", "dense"),
        **mlp_sites("mlp", pre="dense_h_to_4h", act="dense_4h_to_h"),
    },
    nonlinearity="mlp.act",
    entry_norms=("input_layernorm", "post_attention_layernorm"),
    parallel=True,
    misfit=lambda config: "" if config.use_parallel_residual else "its MLP reads what its attention added",
    tiny=tiny,
)
