"""patchclamp: every block's input patched at every position by ``patch_sites``.

m at both ends, by which effects are divided, is known from opening the pairs; the peer does not measure it.
"""

from collections.abc import Mapping
from typing import Any

import serve
import torch

from patchclamp import __version__
from patchclamp.attribute.patching import patch_sites
from patchclamp.core.metric import EachMetric, Metric
from patchclamp.core.stimulus import Stimulus
from patchclamp.core.task import Case, Task
from patchclamp.subjects.cases import ReadCase, ReadTask
from patchclamp.subjects.language import LanguageModel

METRIC = Metric("logit_difference", (11,), (12,))


def ways(model: Any) -> tuple[str, Mapping[str, serve.Record]]:
    from transformers import AutoTokenizer

    subject = LanguageModel(model, AutoTokenizer.from_pretrained(model.name_or_path), name="gpt2-shape", hash="none")

    def opened(ids: Any) -> ReadTask:
        clean, corrupted = ([Stimulus.of(row) for row in prompts.numpy()] for prompts in ids)
        metrics = (METRIC,) * len(clean)
        ends = [subject.measure(p, EachMetric(metrics)).double().numpy() for p in (clean, corrupted)]
        pair = Case("x", "x′", ("a",), ("b",))
        return ReadTask(Task((pair,) * len(clean)), tuple(map(ReadCase, clean, corrupted, metrics)), *ends)

    known: list[ReadTask] = []

    def patched(ids: Any) -> serve.Values:
        if not known:
            known.append(opened(ids))
        [pairs] = known
        found = patch_sites(subject, pairs, "blocks.*.resid_in")
        effects = found.cases.reshape(len(found.cases), len(found.index.blocks), -1)
        m = pairs.m_counterpart[:, None, None] + effects * (pairs.m_clean - pairs.m_counterpart)[:, None, None]
        return {"patched": torch.from_numpy(m.mean(0))}

    return f"patchclamp {__version__}", {"patch": patched}


if __name__ == "__main__":
    serve.serve(ways)
