"""What models share that answer with classes: a name for every number, and a number for every name."""

from typing import Any

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.errors import PatchclampError
from patchclamp.subjects.model import Model

REWARD = "reward"
"""What the one answer of a reward model is called, which its config names LABEL_0."""


@checked
class NamesClasses(Model):
    """Name the answers of a model by what its config calls them (``id2label``)."""

    def answer_name(self, index: Natural) -> str:
        """Return a class's name; its number where the config has none."""
        names: Any = getattr(getattr(self.module, "config", None), "id2label", None) or {}
        if index not in names and index >= self.n_answers:
            raise PatchclampError(
                expected=f"a class from 0 to {self.n_answers - 1}", got=str(index), remedy="Count from 0."
            )
        name = str(names.get(index, index))
        return REWARD if self.n_answers == 1 and name == "LABEL_0" else name

    def class_index(self, name: str | int) -> int:
        """Return the class that a name or a number means; names come first.

        A name with commas, as ImageNet has them, is known by each of its parts.

        Raises:
            PatchclampError: no such class.
        """
        wanted = str(name).strip().casefold()
        names = [self.answer_name(i).casefold() for i in range(self.n_answers)]
        for known in (lambda n: n == wanted, lambda n: wanted in map(str.strip, n.split(","))):
            if (index := next((i for i, n in enumerate(names) if known(n)), None)) is not None:
                return index
        if not wanted.isdecimal() or int(wanted) >= len(names):
            shown = "IMAGE" if self.stimulus_kind == "images" else "TEXT"
            raise PatchclampError(
                expected=f"a class's name, such as {self.answer_name(0)!r}, or a number from 0 to {len(names) - 1}",
                got=repr(name),
                remedy="It has one answer."
                if len(names) == 1
                else f"`patchclamp generate MODEL {shown}` prints the likeliest classes.",
            )
        return int(wanted)
