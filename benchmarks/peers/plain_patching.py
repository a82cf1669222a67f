"""Plain hooks: one whole forward pass per pair and cell, the definition that the others must agree with."""

from collections.abc import Mapping
from typing import Any

import serve
import torch

TARGET, CONTRAST = 11, 12


def ways(model: Any) -> tuple[str, Mapping[str, serve.Record]]:
    def forward(ids: Any, layer: int, change: Any) -> Any:
        handle = model.transformer.h[layer].register_forward_pre_hook(change)
        try:
            return model(input_ids=ids[None], use_cache=False).logits[0, -1]
        finally:
            handle.remove()

    def patched(ids: Any) -> serve.Values:
        n_layers, length = len(model.transformer.h), ids.shape[-1]
        found = torch.zeros(len(ids[0]), n_layers, length, dtype=torch.float64)
        for pair, (clean, corrupted) in enumerate(zip(*ids, strict=True)):
            for layer in range(n_layers):
                kept: list[Any] = []
                forward(clean, layer, lambda _block, args, kept=kept: kept.append(args[0].clone()))
                for position in range(length):

                    def put(_block: Any, args: Any, kept: Any = kept, position: int = position) -> Any:
                        changed = args[0].clone()
                        changed[:, position] = kept[0][:, position]
                        return (changed, *args[1:])

                    last = forward(corrupted, layer, put)
                    found[pair, layer, position] = last[TARGET] - last[CONTRAST]
        return {"patched": found.mean(0)}

    return "plain hooks", {"patch": patched}


if __name__ == "__main__":
    serve.serve(ways)
