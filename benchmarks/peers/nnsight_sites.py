"""nnsight: the 36 sites saved in one trace, which stops at the last or runs to the logits."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import serve


def ways(model: Any) -> tuple[str, Mapping[str, serve.Record]]:
    from nnsight import NNsight

    wrapped = NNsight(model)

    def stopped(ids: Any) -> serve.Values:
        kept: dict[str, Any] = {}
        with wrapped.trace(input_ids=ids, use_cache=False) as tracer:
            for i, block in enumerate(wrapped.transformer.h):
                kept[f"blocks.{i}.attn.write"] = block.attn.output[0].save()
                kept[f"blocks.{i}.mlp.write"] = block.mlp.output.save()
                kept[f"blocks.{i}.resid_out"] = block.output.save()
            tracer.stop()
        return kept

    def whole(ids: Any) -> serve.Values:
        kept: dict[str, Any] = {}
        with wrapped.trace(input_ids=ids, use_cache=False):
            for i, block in enumerate(wrapped.transformer.h):
                kept[f"blocks.{i}.attn.write"] = block.attn.output[0].save()
                kept[f"blocks.{i}.mlp.write"] = block.mlp.output.save()
                kept[f"blocks.{i}.resid_out"] = block.output.save()
        return kept

    return f"nnsight {version('nnsight')}", {"sites": stopped, "sites+logits": whole}


if __name__ == "__main__":
    serve.serve(ways)
