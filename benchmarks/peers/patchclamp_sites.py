"""patchclamp: the 36 sites, stopping at the last or with the logits."""

from collections.abc import Mapping
from typing import Any

import serve

KINDS = ("attn.write", "mlp.write", "resid_out")


def ways(model: Any) -> tuple[str, Mapping[str, serve.Record]]:
    import patchclamp
    from patchclamp.subjects.language import LanguageModel

    subject = LanguageModel(model)
    sites = [f"blocks.{i}.{kind}" for i in range(subject.n_layers) for kind in KINDS]
    return f"patchclamp {patchclamp.__version__}", {
        "sites": lambda ids: subject.run(ids, record=sites, logits=False).recording.values,
        "sites+logits": lambda ids: subject.run(ids, record=sites).recording.values,
    }


if __name__ == "__main__":
    serve.serve(ways)
