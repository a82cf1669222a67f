"""Pairs: clean and corrupted prompts with their answers, the questions that circuits are found and judged on."""

import hashlib
import json
from dataclasses import dataclass

from patchclamp.core.errors import PatchclampError


@dataclass(frozen=True)
class Pair:
    """Hold one question and its counterpart, as text.

    Args:
        clean: the prompt.
        corrupted: a prompt of as many tokens, under which a wrong answer is right.
        answers: what may follow the clean prompt, each with its leading space.
        wrongs: what may not.
        group: which template or case it is of; empty where nobody says.

    Raises:
        PatchclampError: an empty prompt, no answer, or an answer that is wrong too.

    Example:
        >>> Pair("the old cat", "the old dog", (" sat",), (" ran",)).id
        'e659549b'
    """

    clean: str
    corrupted: str
    answers: tuple[str, ...]
    wrongs: tuple[str, ...]
    group: str = ""

    def __post_init__(self) -> None:
        both = set(self.answers) & set(self.wrongs)
        if not self.clean or not self.corrupted or not all(self.answers) or not all(self.wrongs) or both:
            what = f"{sorted(both)[0]!r} as both" if both else "an empty one"
            raise PatchclampError(
                expected="two prompts, and answers other than the wrong ones",
                got=f"{what} in {self.clean!r:.60}",
                remedy="Give clean, corrupted, answer and wrong answer of every pair.",
            )
        if not self.answers or not self.wrongs:
            raise PatchclampError(
                expected="at least one answer and one wrong answer",
                got=f"none with {self.clean!r:.60}",
                remedy="Give both, each with its leading space.",
            )

    @property
    def id(self) -> str:
        """Content hash, by which pairs that a circuit was found on are known again."""
        content = json.dumps([self.clean, self.corrupted, self.answers, self.wrongs])
        return hashlib.sha256(content.encode()).hexdigest()[:8]
