"""A judge of pairs of texts that asks a language model."""

from collections.abc import Sequence

from patchclamp.core.arguments import checked
from patchclamp.describe.chat import Chat
from patchclamp.describe.chat_answers import Answer, Request, clean
from patchclamp.describe.panel import Review
from patchclamp.describe.prompts import load_prompt
from patchclamp.describe.shown_text import read_lines, read_scores

LONGEST = 4000
"""Characters of a text that are shown."""
MOST_PERSPECTIVES = 5
ANSWER_TOKENS = 96


@checked
class LLMPairJudge:
    """Score two texts by a language model. What cannot be read of its answers is None.

    Args:
        chat: the language model.

    Example:
        >>> LLMPairJudge(Chat("http://127.0.0.1:8000/v1", "my-model")).name
        'llm/my-model'
    """

    def __init__(self, chat: Chat) -> None:
        self.chat = chat

    @property
    def name(self) -> str:
        """``llm/`` and the model's name."""
        return f"llm/{self.chat.model}"

    @property
    def tokens(self) -> int:
        """Tokens read and written so far."""
        return self.chat.usage.tokens

    def propose(self, question: str, first: str, second: str) -> tuple[str, ...] | None:
        """Return up to five perspectives from which these texts should be judged; None where none could be read.

        Returns:
            tuple[str, ...] | None: one line of the answer each.

        Raises:
            PatchclampError: no answer, or no tokens left in the budget.

        Source: 2308.01862 and its code; the wording of the prompt is ours.

        Cost: a call.
        """
        answer = self._ask("perspectives", {"question": question, "first": first, "second": second})
        return read_lines(answer, MOST_PERSPECTIVES) or None

    def compare(
        self, question: str, first: str, second: str, perspective: str, reviews: Sequence[Review]
    ) -> tuple[float, float] | None:
        """Return a score from 1 to 10 for each text; None where none could be read.

        Returns:
            tuple[float, float] | None: of the text shown first, and of the other.

        Raises:
            PatchclampError: no answer, or no tokens left in the budget.

        Source: 2308.01862 and its code; the wording of the prompt is ours.

        Cost: a call.
        """
        lines = [f"- {clean(one.perspective, 80)}: A {one.scores[0]:g}, B {one.scores[1]:g}" for one in reviews]
        shown = "\n".join(["\nEarlier reviews:", *lines]) if lines else ""
        gaps = {"question": question, "first": first, "second": second, "perspective": perspective}
        return read_scores(self._ask("compare", gaps, reviews=shown))

    def _ask(self, name: str, gaps: dict[str, str], **more: str) -> Answer:
        prompt = load_prompt(name)
        texts = {key: clean(text, LONGEST) for key, text in gaps.items()}
        [answer] = self.chat.ask_all([Request(prompt.fill({**texts, **more}), prompt.title, ANSWER_TOKENS)])
        return answer
