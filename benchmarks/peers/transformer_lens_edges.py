"""TransformerLens: every edge of one pair at every position, by its own attribution patching over its bridge."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import serve

READERS = {"q_input": "attn.q/heads", "k_input": "attn.k/heads", "v_input": "attn.v/heads"}


def ways(model: Any) -> tuple[str, Mapping[str, serve.Record]]:
    import torch
    from transformer_lens.model_bridge import TransformerBridge
    from transformer_lens.tools.analysis import EdgeAttributionConfig, attribution_patch

    bridge = TransformerBridge.boot_transformers(model.name_or_path, hf_model=model, device="cpu")
    config = EdgeAttributionConfig(granularity="edge")

    def edges(ids: Any) -> serve.Values:
        with torch.enable_grad():
            found = attribution_patch(bridge, ids[:1], ids[1:], lambda z: z[0, -1, 11] - z[0, -1, 12], config)
        return Named(found.edge_scores, ids.shape[1])

    return f"TransformerLens {version('transformer-lens')}", {"edges": edges}


def key(node: Any) -> str:
    """Return a node's key as patchclamp writes it."""
    if node.kind in ("embed", "logits"):
        return "embed/whole/0" if node.kind == "embed" else "final/whole/0"
    if node.head is None:
        return f"blocks.{node.layer}.mlp.{'write' if node.kind == 'mlp_out' else 'pre'}/whole/0"
    return f"blocks.{node.layer}.{READERS.get(node.kind, 'attn.z/heads')}/{node.head}"


class Named(dict):
    """The scores, laid out as patchclamp does only when they are asked for: by reader, then writer, then position."""

    def __init__(self, scores: Any, n_positions: int) -> None:
        self.scores, self.n_positions = scores, n_positions

    def items(self) -> Any:
        import torch

        n_layers = 1 + max(v.layer for _, v in self.scores)
        n_heads = 1 + max(u.head for u, _ in self.scores if u.head is not None)
        order = []
        writers = ["embed/whole/0"]
        for i in range(n_layers):
            heads = range(n_heads)
            order += [(u, f"blocks.{i}.attn.{s}/heads/{h}") for s in "qkv" for h in heads for u in writers]
            writers += [f"blocks.{i}.attn.z/heads/{h}" for h in heads]
            order += [(u, f"blocks.{i}.mlp.pre/whole/0") for u in writers]
            writers.append(f"blocks.{i}.mlp.write/whole/0")
        order += [(u, "final/whole/0") for u in writers]
        place = {edge: k for k, edge in enumerate(order)}
        table = torch.zeros(len(order), self.n_positions)
        for (u, v), score in self.scores.items():
            table[place[key(u), key(v)], v.position] = score
        return {"edges": table}.items()


if __name__ == "__main__":
    serve.serve(ways)
