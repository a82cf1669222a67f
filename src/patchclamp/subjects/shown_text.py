"""From text to what a language model is shown, by its tokenizer and within its context."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.stimulus import Stimulus
from patchclamp.subjects.batching import Batch, Padding, collate
from patchclamp.subjects.model import Model
from patchclamp.subjects.reading import unknown_words
from patchclamp.subjects.text import Tokenizer, read_stimuli


@checked
class ShownText(Model):
    """Turn text into stimuli and batches, and answers into tokens."""

    tokenizer_hash: str
    context: int | None
    """Most tokens that it takes; None where nothing bounds them."""

    def tokenize(self, text: str, *, bos: bool = True, chat: bool = False, answered: bool = False) -> Stimulus:
        """Turn text into a stimulus: ids, character spans, a role per token.

        Args:
            text: the text.
            bos: begin and end as the tokenizer does by itself; a text that already does gets no second one.
            chat: wrap it in the model's chat template as one user message.
            answered: an answer follows, so nothing closes the text; a chat ends with what the template puts before an
                answer. A model that fills in masks reads the whole text all the same.

        Returns:
            Stimulus: as the model is shown it, the tokenizer's own tokens included.

        Raises:
            PatchclampError: no tokenizer, empty text, or more tokens than the context holds.
        """
        follows = answered and self.capabilities.generate
        return self._fits(self.tokenizer.stimulus(text, bos=bos, chat=chat, answered=follows))

    @property
    def input_hashes(self) -> dict[str, str]:
        """Hash of the tokenizer."""
        return {"tokenizer": self.tokenizer_hash}

    def continuation(self, prompt: str | Stimulus, answer: str) -> tuple[int, ...]:
        """Return the ids that ``answer`` adds after ``prompt``: ids(prompt + answer) past ids(prompt).

        Raises:
            PatchclampError: appending the answer changes the prompt's own ids.
        """
        return self.tokenizer.continuation(prompt, answer)

    @property
    def tokenizer(self) -> Tokenizer:
        """Its tokenizer; raises where it has none."""
        if self._tokenizer is None:
            raise PatchclampError(
                expected="a model with a tokenizer",
                got=f"{self.name}, which has none",
                remedy="Put its tokenizer's files (tokenizer.json) beside the weights; in Python, show it token ids.",
            )
        return self._tokenizer

    def stimuli(self, shown: Any, *, answered: bool = False) -> list[Stimulus]:
        """Turn what people pass (text, ids, stimuli, or a list of these) into stimuli; see ``tokenize``."""
        return read_stimuli(shown, partial(self.tokenize, answered=answered), self._fits)

    def unknown_words(self, shown: Any) -> list[str]:
        """Return the words of a prompt that its vocabulary lacks, each once, in their order.

        Example:
            >>> from patchclamp.loaders import load
            >>> load("organism:cat").unknown_words("the old unicorn")
            ['unicorn']
        """
        return [word for one in self.stimuli(shown) for word in unknown_words(self.tokenizer, one)]

    def _fits(self, stimulus: Stimulus) -> Stimulus:
        vocabulary = self.module.get_input_embeddings().num_embeddings
        if not len(stimulus) or stimulus.ids.min() < 0 or stimulus.ids.max() >= vocabulary:
            raise PatchclampError(
                expected=f"at least one token, ids from 0 to {vocabulary - 1}",
                got=f"{len(stimulus)} tokens, ids {stimulus.ids[:8].tolist()}",
                remedy="Check the prompt, and that tokenizer and model belong together.",
            )
        if self.context is not None and len(stimulus) > self.context:
            raise PatchclampError(
                expected=f"at most {self.context} tokens, the model's context",
                got=f"{len(stimulus)} tokens",
                remedy="Shorten the prompt, or cut text with --window.",
            )
        return stimulus

    def batch(self, stimuli: Sequence[Stimulus], padding: Padding = "right") -> Batch:
        """Lay stimuli out as one padded rectangle on the model's device."""
        return collate(stimuli, self._pad, padding, self.device)

    @property
    def _pad(self) -> int:
        return self._tokenizer.pad if self._tokenizer is not None else 0
