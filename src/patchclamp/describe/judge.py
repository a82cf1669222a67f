"""Who answers what a description claims: a protocol that a rule matcher and a language model keep."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError


@checked
@dataclass(frozen=True)
class Window:
    """Hold a stretch of text as a judge sees it.

    Args:
        tokens: their texts, in order.
        labels: the concepts true of each token, where the text is labelled.

    Raises:
        PatchclampError: another number of labels than of tokens.

    Example:
        >>> Window((" the", " cat")).text
        ' the cat'
    """

    tokens: tuple[str, ...]
    labels: tuple[frozenset[str], ...] | None = None

    def __post_init__(self) -> None:
        if self.labels is not None and len(self.labels) != len(self.tokens):
            raise PatchclampError(
                expected=f"labels of {len(self.tokens)} tokens", got=f"{len(self.labels)}", remedy="One set a token."
            )

    @property
    def text(self) -> str:
        """The tokens as one text."""
        return "".join(self.tokens)

    def __len__(self) -> int:
        return len(self.tokens)


@runtime_checkable
class Judge(Protocol):
    """It answers whether windows fit a description. None is an answer that could not be read, never a wrong one."""

    @property
    def name(self) -> str:
        """Who judges: ``rule``, ``llm/NAME``."""

    def fits(self, description: str, windows: Sequence[Window]) -> list[float | None]:
        """Return for each window the probability that a unit of this description fires in it."""

    def fits_marked(
        self, description: str, windows: Sequence[Window], marks: Sequence[Bool[np.ndarray, " token"]]
    ) -> list[float | None]:
        """Return for each window the probability that a unit of this description fires at every marked token.

        Returns:
            list[float | None]: one a window; None where no answer could be read.

        Source: 2410.13928, fuzzing scoring.

        Example:
            >>> from patchclamp.describe.judges.rule import RuleJudge
            >>> windows, marks = [Window((" a", " cat"))], [np.array([False, True])]
            >>> RuleJudge().fits_marked('the token " cat"', windows, marks)
            [1.0]
        """

    def simulate(self, description: str, windows: Sequence[Window]) -> list[Float[np.ndarray, " token"] | None]:
        """Return for each window how strongly a unit of this description fires at each token, from 0 to 10."""


@runtime_checkable
class Chooser(Protocol):
    """It finds the window that does not belong, with no description."""

    @property
    def name(self) -> str:
        """Who chooses."""

    def choose_odd(self, windows: Sequence[Window], marks: Sequence[Bool[np.ndarray, " token"]]) -> int | None:
        """Return the place of the window that is unlike the others; None where no answer could be read."""


@runtime_checkable
class Reader(Protocol):
    """It says how likely a text is after another; a language model, or what counts words."""

    @property
    def name(self) -> str:
        """Who reads."""

    def log_likelihoods(self, pairs: Sequence[tuple[str, str]]) -> list[float | None]:
        """Return for each context and text log p(text | context), in nats; None where the reader cannot say."""


@runtime_checkable
class Encoder(Protocol):
    """It places texts in a space in which alike ones lie close."""

    @property
    def name(self) -> str:
        """Who encodes."""

    def encode(self, texts: Sequence[str], *, query: bool = False) -> Float[np.ndarray, "text width"]:
        """Return a vector for each text; ``query`` where the texts are what is looked for."""
