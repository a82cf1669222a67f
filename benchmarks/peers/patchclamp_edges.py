"""patchclamp: every edge of one pair at every position, by attribution patching."""

from collections.abc import Mapping
from typing import Any

import serve


def ways(model: Any) -> tuple[str, Mapping[str, serve.Record]]:
    import numpy as np

    import patchclamp
    from patchclamp.attribute.edges import attribute_edges
    from patchclamp.core.metric import Metric
    from patchclamp.core.stimulus import Stimulus
    from patchclamp.core.task import Case, Task
    from patchclamp.subjects.cases import ReadCase, ReadTask
    from patchclamp.subjects.language import LanguageModel

    subject = LanguageModel(model)

    def edges(ids: Any) -> serve.Values:
        clean, corrupted = (Stimulus.of(row.numpy()) for row in ids)
        pair, metric = Case("clean", "corrupted", (" a",), (" b",)), Metric("logit_difference", (11,), (12,))
        pairs = ReadTask(Task((pair,)), (ReadCase(clean, corrupted, metric),), np.zeros(1), np.ones(1))
        return Named(attribute_edges(subject, pairs, by_position=True))

    return f"patchclamp {patchclamp.__version__}", {"edges": edges}


class Named(dict):
    """The scores, laid out by name only when they are asked for."""

    def __init__(self, found: Any) -> None:
        self.found = found

    def items(self) -> Any:
        import torch

        return {"edges": torch.from_numpy(self.found.values)}.items()


if __name__ == "__main__":
    serve.serve(ways)
