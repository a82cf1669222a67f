"""TransformerLens: the 36 sites through its bridge over the same model, without compatibility mode.

Its ``stop_at_layer`` stops before a block, so where the last block is recorded the unembedding runs as well: there is
no way without logits.
"""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import serve

NAMES = {"attn.write": "hook_attn_out", "mlp.write": "hook_mlp_out", "resid_out": "hook_resid_post"}


def ways(model: Any) -> tuple[str, Mapping[str, serve.Record]]:
    from transformer_lens.model_bridge import TransformerBridge

    bridge = TransformerBridge.boot_transformers(model.name_or_path, hf_model=model, device="cpu")
    n_layers = bridge.cfg.n_layers
    wanted = {f"blocks.{i}.{ours}": f"blocks.{i}.{theirs}" for i in range(n_layers) for ours, theirs in NAMES.items()}

    def whole(ids: Any) -> serve.Values:
        _, cache = bridge.run_with_cache(ids, names_filter=list(wanted.values()), use_cache=False)
        return {ours: cache[theirs] for ours, theirs in wanted.items()}

    return f"TransformerLens {version('transformer-lens')}", {"sites+logits": whole}


if __name__ == "__main__":
    serve.serve(ways)
