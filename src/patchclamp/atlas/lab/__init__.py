"""Lab: the model beside its atlas, for texts that the atlas has not seen."""

import threading
from typing import Any

import numpy as np

from patchclamp.atlas import pages
from patchclamp.atlas.reading import Reading, number_or_none
from patchclamp.atlas.vocabulary import spelling
from patchclamp.core.errors import PatchclampError


class Lab:
    """Show texts to the model of an atlas.

    Args:
        model: the subject.
        atlas: its atlas.

    Raises:
        PatchclampError: another model's atlas.
    """

    def __init__(self, model: Any, atlas: Reading) -> None:
        subject = atlas.about["subject"]
        if model.hash != subject["hash"]:
            raise PatchclampError(
                expected=f"the model of this atlas, {subject['slug']}",
                got=f"{model.name}, whose weights are others",
                remedy="Attach the model that it was baked from, or leave --model out.",
            )
        self.model = model
        self.lock = threading.Lock()

    def unbuilt(self) -> PatchclampError:
        """Refuse what is not built yet."""
        return PatchclampError(expected="something built", got="the lab, which is not yet", remedy="Wait.")

    def trial(self, atlas: Reading, key: str, text: str) -> pages.Trial:
        """Return what a unit does along a text.

        Raises:
            Absent: the atlas has no such unit.
            PatchclampError: empty text, or one that is longer than the model's context.
        """
        named = atlas.key(atlas.number(key))
        stimulus = self.model.tokenize(text)
        with self.lock:
            recording = self.model.run(stimulus, record=[named.site], logits=False).recording
        acts = np.asarray(recording[named.site].float().cpu())[:, named.index].astype(np.float64).tolist()
        rules = self.model.tokenizer
        spelt = [spelling(rules.bare, rules.token(int(id)), int(id)) for id in stimulus.ids]
        return pages.Trial(
            key=str(named), tokens=[word for word, _ in spelt], ids=stimulus.ids.tolist(),
            acts=[number_or_none(a) for a in acts], special=np.flatnonzero(~stimulus.counted).tolist(),
            bytes=[i for i, (_, raw) in enumerate(spelt) if raw], source=atlas.source(f".unit({str(named)!r})"),
        )  # fmt: skip
