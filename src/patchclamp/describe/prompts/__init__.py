"""What is asked of a language model, in files of our own wording; each has a version, which provenance names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from patchclamp.core.errors import PatchclampError

ROLES = ("system", "user", "assistant")
_HEAD = re.compile(r"prompt: ([a-z]+) (\d+)\n")
_PART = re.compile(rf"^# ({'|'.join(ROLES)})\n", re.MULTILINE)
_GAP = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True)
class Prompt:
    """Hold what is asked, with gaps for what it is asked about.

    Args:
        name: of the file.
        version: that changes with its words, so that answers to other words are not taken for answers to these.
        messages: role and text of each; ``{{name}}`` is a gap.
    """

    name: str
    version: int
    messages: tuple[tuple[str, str], ...]

    @property
    def title(self) -> str:
        """Name and version."""
        return f"{self.name} {self.version}"

    def fill(self, gaps: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """Return the messages with their gaps filled; what fills one is not read for gaps again.

        Args:
            gaps: name → text.

        Raises:
            PatchclampError: another set of names than the prompt's.
        """
        named = {name for _, text in self.messages for name in _GAP.findall(text)}
        if named != set(gaps):
            raise PatchclampError(
                expected=f"texts for {', '.join(sorted(named))}",
                got=", ".join(sorted(gaps)) or "none",
                remedy=f"See describe/prompts/{self.name}.md.",
            )
        return tuple((role, _GAP.sub(lambda gap: gaps[gap[1]], text)) for role, text in self.messages)


@cache
def load_prompt(name: str) -> Prompt:
    """Return a prompt of the package.

    Args:
        name: of its file, such as ``explain``.

    Example:
        >>> load_prompt("detect").title
        'detect 1'
    """
    text = files(__name__).joinpath(f"{name}.md").read_text(encoding="utf-8")
    head = _HEAD.match(text)
    if head is None or head[1] != name:
        raise ValueError(f"{name}.md does not begin with its name and version")
    _, *parts = _PART.split(text[head.end() :])
    messages = zip(parts[::2], (part.strip() for part in parts[1::2]), strict=True)
    return Prompt(name, int(head[2]), tuple(messages))
