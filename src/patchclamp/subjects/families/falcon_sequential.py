"""Falcon with a sequential residual, as Falcon-RW: biases, as many key-value heads as queries, ALiBi by config."""

from dataclasses import replace
from functools import partial

from patchclamp.subjects.engine import Place
from patchclamp.subjects.families import falcon

FAMILY = replace(
    falcon.FAMILY,
    name="falcon_sequential",
    block={
        **falcon.FAMILY.block,
        "resid_mid": Place("post_attention_layernorm", "in", shared=True),
        "mlp.write": Place("mlp", "out"),
    },
    entry_norms=("input_layernorm", "post_attention_layernorm"),
    varying=frozenset(),
    parallel=False,
    misfit=lambda config: "its attention and MLP read the same residual" if falcon.is_parallel(config) else "",
    tiny=partial(falcon.tiny, parallel_attn=False, multi_query=False, bias=True),
)
