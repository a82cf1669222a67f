"""A judge that asks a language model."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float

from patchclamp.core.arguments import Positive, checked
from patchclamp.describe.chat import Chat, ChatCost
from patchclamp.describe.chat_answers import Request, clean
from patchclamp.describe.judge import Window
from patchclamp.describe.prompts import load_prompt
from patchclamp.describe.shown_text import (
    read_activations,
    read_fits,
    read_place,
    show_passages,
    show_tokens,
    show_window,
)

AT_ONCE = 5
LONGEST = 2000
"""Characters of a description that are shown."""
TOKENS_A_NUMBER, TOKENS_BESIDE = 4, 64
"""Tokens of an answer: of each number, and of what a model may say around them."""
Marks = Sequence[Bool[np.ndarray, " token"]]


@checked
class LLMJudge:
    """Answer by a language model. What cannot be read of its answers is missing, and counted.

    Windows are shown five at a time, in an order that follows from their content and that of the description: the
    same question is asked in the same words again, and so is answered from what was kept.

    Args:
        chat: the language model.
        at_once: windows of a question.

    Example:
        >>> LLMJudge(Chat("http://127.0.0.1:8000/v1", "my-model")).name
        'llm/my-model'
    """

    def __init__(self, chat: Chat, at_once: Positive = AT_ONCE) -> None:
        self.chat, self.at_once = chat, at_once
        self.unread = 0
        """Windows about which no answer could be read, so far."""

    @property
    def name(self) -> str:
        """``llm/`` and the model's name."""
        return f"llm/{self.chat.model}"

    @property
    def calls(self) -> int:
        """Answers that the server gave so far."""
        return self.chat.usage.calls

    @property
    def tokens(self) -> int:
        """Tokens that were paid so far."""
        return self.chat.usage.tokens

    def fits(self, description: str, windows: Sequence[Window]) -> list[float | None]:
        """Return for each window the probability that a unit of this description fires in it.

        Where the server gives probabilities of tokens it is p₁ / (p₀ + p₁), else 1 or 0.

        Raises:
            PatchclampError: no answer, or no tokens left in the budget.

        Cost: a call per five windows.
        """
        return self._read(self.ask_fits(description, windows))

    def fits_marked(self, description: str, windows: Sequence[Window], marks: Marks) -> list[float | None]:
        """Return for each window the probability that a unit of this description fires at every marked token.

        Returns:
            list[float | None]: one a window; None where no answer could be read.

        Raises:
            PatchclampError: no answer, or no tokens left in the budget.

        Source: 2410.13928, fuzzing scoring.

        Cost: a call per five windows.
        """
        return self._read(self.ask_fits(description, windows, marks))

    def simulate(self, description: str, windows: Sequence[Window]) -> list[Float[np.ndarray, " token"] | None]:
        """Return for each window how strongly a unit of this description fires at each token, from 0 to 10.

        Raises:
            PatchclampError: no answer, or no tokens left in the budget.

        Cost: a call per window; it answers with a line per token.
        """
        answers = self.chat.ask_all([self._ask_simulation(description, one) for one in windows])
        found = [read_activations(answer, len(window)) for answer, window in zip(answers, windows, strict=True)]
        self.unread += sum(one is None for one in found)
        return found

    def choose_odd(self, windows: Sequence[Window], marks: Marks) -> int | None:
        """Return the place of the window that is unlike the others; None where no answer could be read.

        Raises:
            PatchclampError: no answer, or no tokens left in the budget.

        Cost: a call.
        """
        [answer] = self.chat.ask_all([_request("intruder", {"passages": show_passages(windows, marks)}, 1)])
        place = read_place(answer, len(windows))
        self.unread += place is None
        return place

    def estimate(self, cases: Iterable[tuple[str, Sequence[Window]]], *, simulated: bool = False) -> ChatCost:
        """Return what judging will cost at most, before anything is asked.

        Args:
            cases: descriptions, each with the windows that it is judged by.
            simulated: whether tokens are simulated; by default windows are judged.
        """

        def ask() -> Iterator[Request]:
            for description, windows in cases:
                if simulated:
                    yield from (self._ask_simulation(description, one) for one in windows)
                else:
                    yield from (request for _, request in self.ask_fits(description, windows))

        return self.chat.estimate(ask())

    def ask_fits(
        self, description: str, windows: Sequence[Window], marks: Marks | None = None
    ) -> list[tuple[list[int], Request]]:
        """Return the questions about windows, each with the places of those that it shows.

        Args:
            description: that is judged.
            windows: all of them.
            marks: which tokens are marked, where every marked token must fit.

        Returns:
            list[tuple[list[int], Request]]: every window is shown once, in an order that follows from the texts.

        Source: 2410.13928, several windows in one question.

        Example:
            >>> judge = LLMJudge(Chat("http://127.0.0.1:8000/v1", "my-model"))
            >>> [places for places, _ in judge.ask_fits("cats", [Window((" a", " cat"))])]
            [[0]]
        """
        shown = [show_window(one, None if marks is None else marks[place]) for place, one in enumerate(windows)]
        seed = hashlib.sha256("\0".join([description, *shown]).encode(errors="replace")).digest()[:8]
        order = np.random.default_rng(int.from_bytes(seed)).permutation(len(shown)).tolist()
        asked = []
        for start in range(0, len(order), self.at_once):
            group = order[start : start + self.at_once]
            lines = [f"Passage {number}: {shown[place]}" for number, place in enumerate(group, 1)]
            gaps = {"description": clean(description, LONGEST), "passages": "\n".join(lines)}
            asked.append((group, _request("detect" if marks is None else "fuzz", gaps, len(group), logprobs=True)))
        return asked

    def _ask_simulation(self, description: str, window: Window) -> Request:
        gaps = {"description": clean(description, LONGEST), "tokens": show_tokens(window)}
        return _request("simulate", gaps, 2 * len(window))

    def _read(self, asked: Sequence[tuple[list[int], Request]]) -> list[float | None]:
        found: dict[int, float | None] = {}
        answers = self.chat.ask_all([request for _, request in asked])
        for (group, _), answer in zip(asked, answers, strict=True):
            found |= dict(zip(group, read_fits(answer, len(group)), strict=True))
        self.unread += sum(one is None for one in found.values())
        return [found[place] for place in range(len(found))]


def _request(name: str, gaps: dict[str, str], numbers: int, *, logprobs: bool = False) -> Request:
    """Return a question whose answer is so many numbers."""
    prompt = load_prompt(name)
    longest = TOKENS_BESIDE + TOKENS_A_NUMBER * numbers
    return Request(prompt.fill(gaps), prompt.title, longest, logprobs=logprobs)
