"""TransformerLens: every block's input patched at every position by ``get_act_patch_resid_pre``, over the same model.

Its clean run, whose activations are put in, is part of the time, with nothing kept but what is put in.
"""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import serve

TARGET, CONTRAST = 11, 12


def ways(model: Any) -> tuple[str, Mapping[str, serve.Record]]:
    from transformer_lens import patching
    from transformer_lens.model_bridge import TransformerBridge

    bridge = TransformerBridge.boot_transformers(model.name_or_path, hf_model=model, device="cpu")

    def metric(logits: Any) -> Any:
        return (logits[:, -1, TARGET] - logits[:, -1, CONTRAST]).mean()

    def patched(ids: Any) -> serve.Values:
        clean, corrupted = ids
        _, cache = bridge.run_with_cache(clean, names_filter=lambda name: name.endswith("hook_resid_pre"))
        return {"patched": patching.get_act_patch_resid_pre(bridge, corrupted, cache, metric)}

    return f"TransformerLens {version('transformer-lens')}", {"patch": patched}


if __name__ == "__main__":
    serve.serve(ways)
