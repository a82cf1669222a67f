"""Plain hooks: forward hooks written by hand, and the bare model, as the peers' common measure."""

from collections.abc import Mapping
from typing import Any

import serve


def ways(model: Any) -> tuple[str, Mapping[str, serve.Record]]:
    import torch

    base = model.transformer

    def hooked(forward: Any) -> serve.Record:
        def record(ids: Any) -> serve.Values:
            kept: dict[str, Any] = {}

            def keep(name: str) -> Any:
                def hook(_module: Any, _args: Any, output: Any) -> None:
                    kept[name] = output[0] if isinstance(output, tuple) else output

                return hook

            handles = []
            for i, block in enumerate(base.h):
                named = {"attn.write": block.attn, "mlp.write": block.mlp, "resid_out": block}
                handles += [m.register_forward_hook(keep(f"blocks.{i}.{n}")) for n, m in named.items()]
            try:
                forward(input_ids=ids, use_cache=False)
            finally:
                for handle in handles:
                    handle.remove()
            return kept

        return record

    def nothing(ids: Any) -> serve.Values:
        model(input_ids=ids, use_cache=False)
        return {}

    return f"plain hooks, torch {torch.__version__}", {
        "sites": hooked(base),
        "sites+logits": hooked(model),
        "forward": nothing,
    }


if __name__ == "__main__":
    serve.serve(ways)
