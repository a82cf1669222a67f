"""Requests to a language model and its answers: what is counted, kept on disk, and read of what a server sent."""

import hashlib
import math
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patchclamp.core.arguments import Natural, Positive, checked
from patchclamp.core.disk import read_text_file, refuse_write, write_file
from patchclamp.core.json_text import (
    canonical,
    check_seal,
    parse,
    read_list,
    read_mapping,
    read_number,
    read_word,
    seal,
)

LONGEST_TEXT = 20_000
"""Characters of an answer that are read."""
MOST_TOKENS = 2**40
"""Tokens that a server may say it read or wrote: more is a slip of the server."""
BYTES_A_TOKEN = 3
"""Tokenizers make a token of some four bytes of English; an estimate must not be below what is paid."""
AROUND_MESSAGE = 8
"""Tokens with which a chat template surrounds a message."""


@checked
@dataclass(frozen=True)
class Request:
    """Hold one question to a language model.

    Args:
        messages: role and text of each, such as ``("user", "Hello")``.
        prompt: name and version of the prompt that it was made from.
        max_tokens: of the answer.
        temperature: 0 for the likeliest answer.
        seed: of the draw, where the temperature is above 0.
        logprobs: ask for the probabilities of the answer's tokens.

    Example:
        >>> Request((("user", "Is water wet?"),), "plain 1").tokens
        269
    """

    messages: tuple[tuple[str, str], ...]
    prompt: str
    max_tokens: Positive = 256
    temperature: float = 0.0
    seed: Natural = 0
    logprobs: bool = False

    def key(self, model: str) -> str:
        """Return the SHA-256 of all that decides the answer: the model, and what is asked with which parameters."""
        parts = [model, self.prompt, self.messages, self.max_tokens, self.temperature, self.logprobs]
        return hashlib.sha256(canonical([*parts, self.seed if self.temperature else 0])).hexdigest()

    @property
    def tokens_in(self) -> int:
        """About how many tokens the messages have."""
        return sum(
            AROUND_MESSAGE + -(-len(text.encode(errors="replace")) // BYTES_A_TOKEN) for _, text in self.messages
        )

    @property
    def tokens(self) -> int:
        """About how many tokens are paid for at most: the messages and the longest answer."""
        return self.tokens_in + self.max_tokens


@dataclass(frozen=True)
class Answer:
    """Hold what a language model answered.

    Args:
        text: of the answer; None where the model gave none.
        tokens_in: tokens that it read.
        tokens_out: tokens that it wrote.
        alternatives: of each token of the text how it is spelled, and the probabilities of the likeliest tokens at its
            place; empty where the server gave none.
    """

    text: str | None
    tokens_in: int
    tokens_out: int
    alternatives: tuple[tuple[str, Mapping[str, float]], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the answer as JSON-ready data, which ``from_json`` reads."""
        return {
            "text": self.text,
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "alternatives": [[text, dict(others)] for text, others in self.alternatives],
        }

    @classmethod
    def from_json(cls, data: Any) -> "Answer":
        """Read an answer that was kept.

        Raises:
            ValueError, TypeError, LookupError: other data.
        """
        text = None if data["text"] is None else read_word(data["text"])[:LONGEST_TEXT]
        alternatives = [
            (read_word(token), {name: read_number(p) for name, p in read_mapping(others).items()})
            for token, others in read_list(data["alternatives"])
        ]
        return cls(text, _count(data["tokens_in"]), _count(data["tokens_out"]), tuple(alternatives))


def _count(value: Any) -> int:
    """Return a number of tokens.

    Raises:
        ValueError: no whole number, or one that no answer has.
    """
    if type(value) is not int or not 0 <= value <= MOST_TOKENS:
        raise ValueError(f"{value!r:.40} where a number of tokens belongs")
    return value


def read_answer(body: bytes, request: Request) -> Answer:
    """Return what a server sent as an answer, in the form of OpenAI's chat completions.

    Args:
        body: of the response.
        request: what it answers; its estimate stands in for numbers of tokens that the server does not give.

    Returns:
        Answer: without a text where there is no choice, or one without content.

    Raises:
        ValueError: what is no such response, with what is wrong in words.
    """
    try:
        data = read_mapping(parse(body))
        choices = read_list(data["choices"])
        message = read_mapping(choices[0]["message"]) if choices else {}
        content = message.get("content")
        text = None if content is None else read_word(content)[:LONGEST_TEXT]
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as problem:
        start = clean(body[:200].decode(errors="replace"), 60)
        raise ValueError(f"what is no chat completion: {start!r}") from problem
    used = data.get("usage")
    used = used if isinstance(used, dict) else {}
    counts = {"prompt_tokens": request.tokens_in, "completion_tokens": -(-len(text or "") // BYTES_A_TOKEN)}
    for name in counts:
        with suppress(ValueError):
            counts[name] = _count(used.get(name))
    alternatives = _read_alternatives(choices[0].get("logprobs") if choices else None, text)
    return Answer(text, counts["prompt_tokens"], counts["completion_tokens"], alternatives)


def _read_alternatives(data: Any, text: str | None) -> tuple[tuple[str, Mapping[str, float]], ...]:
    """Return tokens with their alternatives' probabilities; nothing where they do not make the text."""
    try:
        found = []
        for one in read_list(data["content"]):
            others = {read_word(other["token"]): other["logprob"] for other in one["top_logprobs"]}
            others.setdefault(read_word(one["token"]), one["logprob"])
            found.append((one["token"], {name: math.exp(min(read_number(p), 0.0)) for name, p in others.items()}))
    except (ValueError, TypeError, LookupError, AttributeError):
        return ()
    return tuple(found) if "".join(token for token, _ in found) == text else ()


def clean(text: str, most: int) -> str:
    """Return a stranger's text as one line that can be shown: what cannot be seen is left out, and the end cut.

    Args:
        text: any.
        most: characters at most.

    Example:
        >>> clean("red" + chr(27) + "[31m  and" + chr(10) + "green" + chr(0x202E), 100)
        'red[31m and green'
    """
    visible = "".join(" " if c.isspace() else c for c in text if c.isspace() or unicodedata.category(c)[0] != "C")
    line = " ".join(visible.split())
    return line if len(line) <= most else line[: most - 1] + "…"


@dataclass(frozen=True)
class AnswerFolder:
    """Keep answers on disk, each in a file that is named by the hash of its request.

    Several processes may share one. A file that is damaged counts as none.

    Args:
        folder: where they lie.
    """

    folder: Path

    def _file(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key[2:]}.json"

    def __contains__(self, key: str) -> bool:
        return self.get(key) is not None

    def get(self, key: str) -> Answer | None:
        """Return what was answered to a request; None where nothing is kept."""
        try:
            data = read_text_file(self._file(key), 2**24)
            head = read_mapping(parse(data))
            check_seal(head, data)
            return Answer.from_json(head["answer"]) if head["request"] == key else None
        except (OSError, ValueError, TypeError, LookupError, RecursionError):
            return None

    def put(self, key: str, model: str, prompt: str, answer: Answer) -> None:
        """Keep an answer, whole or not at all.

        Raises:
            PatchclampError: it cannot be written.
        """
        file = self._file(key)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise refuse_write(file, problem) from problem
        head = {"request": key, "model": model, "prompt": prompt, "answer": answer.to_json()}
        write_file(file, seal(head))
