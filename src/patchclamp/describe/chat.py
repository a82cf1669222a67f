"""Ask a language model behind any OpenAI-compatible server many questions at once, and pay for none of them twice."""

import asyncio
import math
import os
import time
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from patchclamp.core.arguments import Natural, Positive, checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.subject import Progress
from patchclamp.describe.chat_answers import Answer, AnswerFolder, Request, clean
from patchclamp.describe.chat_client import KEY, Client, Server, Usage

Result = TypeVar("Result")


@dataclass(frozen=True)
class ChatCost:
    """Say what questions will cost at most, before any is asked.

    Args:
        calls: that no kept answer spares.
        tokens: of these, read and written.
        cached: questions whose answers are kept.
    """

    calls: int
    tokens: int
    cached: int


@checked
class Chat:
    """Ask a language model, several questions at a time.

    Answers are kept by the content of the question, so that a run that was killed goes on without paying twice. The
    budget counts tokens as the server states them; where it does not they are estimated from the length of the text.
    The server's key is what the environment variable PATCHCLAMP_LLM_KEY holds; it is written nowhere.

    Args:
        base_url: of the server, with its version, such as ``http://127.0.0.1:8000/v1``. There is no default: nothing
            is sent to anybody who is not named.
        model: as the server calls it.
        budget_tokens: tokens that may be read and written in all; None for no limit.
        folder: where answers are kept; None to keep none.
        concurrency: questions at once.
        timeout: seconds in which an answer must be there.
        tries: of a question that is refused for now, or not answered.
        pause: seconds before the second try; it doubles from try to try. A server's own wish goes first.

    Raises:
        PatchclampError: no address or model, an address with a password in it, or a key that is none.

    Example:
        >>> chat = Chat("http://127.0.0.1:8000/v1", "my-model")
        >>> chat.estimate([Request((("user", "Is water wet?"),), "plain 1")])
        ChatCost(calls=1, tokens=269, cached=0)
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        budget_tokens: Natural | None = None,
        folder: str | Path | None = None,
        concurrency: Positive = 8,
        timeout: float | int = 120.0,
        tries: Positive = 6,
        pause: float | int = 0.5,
    ) -> None:
        address, name = _check_address(base_url), _check_model(model)
        self.server = Server(address, name, _read_key(), float(timeout), tries, float(pause))
        self.model, self.budget_tokens, self.concurrency = name, budget_tokens, concurrency
        self.usage = Usage()
        self._answers = None if folder is None else AnswerFolder(Path(folder))
        self._reserved, self._excess = 0, 1.0

    def __repr__(self) -> str:
        return f"Chat({self.server.base_url!r}, {self.model!r})"

    def estimate(self, requests: Iterable[Request]) -> ChatCost:
        """Return what questions will cost at most; those whose answers are kept cost nothing.

        Args:
            requests: one after another; they need not be in memory together.
        """
        calls = tokens = cached = 0
        for request in requests:
            if self._answers is not None and request.key(self.model) in self._answers:
                cached += 1
            else:
                calls, tokens = calls + 1, tokens + request.tokens
        return ChatCost(calls, tokens, cached)

    def refuse_beyond_budget(self, requests: Iterable[Request]) -> ChatCost:
        """Return what questions will cost at most, where the budget allows it.

        Raises:
            PatchclampError: it does not.
        """
        cost = self.estimate(requests)
        if self.budget_tokens is not None and self.usage.tokens + cost.tokens > self.budget_tokens:
            spent = f" after {self.usage.tokens:,} spent" if self.usage.tokens else ""
            raise PatchclampError(
                expected=f"at most {self.budget_tokens:,} tokens, the budget",
                got=f"{cost.calls:,} calls of {cost.tokens:,} tokens at most{spent}",
                remedy="Give a larger --budget-tokens, or fewer units, windows or scorers.",
            )
        return cost

    def ask(
        self, requests: Iterable[Request], *, total: Natural = 0, progress: Progress | None = None
    ) -> list[Answer | None]:
        """Return the answers to questions, in order; None to those for which the budget did not suffice.

        Args:
            requests: one after another; they need not be in memory together.
            total: how many there are, for the progress.
            progress: called with questions done and in all.

        Returns:
            list[Answer | None]: as many as there are questions.

        Raises:
            PatchclampError: the server refuses, does not answer in any of the tries, or the package openai is missing.
                What was answered until then is kept.

        Cost: a call per question that no kept answer spares.
        """
        begun = time.monotonic()
        try:
            return _run(self._ask(requests, total, progress))
        finally:
            self.usage.seconds += time.monotonic() - begun

    def ask_all(self, requests: Sequence[Request]) -> list[Answer]:
        """Return the answers to all of some questions.

        Raises:
            PatchclampError: as ``ask`` does, and where the budget does not suffice for all.
        """
        answers = self.ask(requests)
        given = [one for one in answers if one is not None]
        if len(given) < len(answers):
            raise PatchclampError(
                expected=f"at most {self.budget_tokens:,} tokens, the budget",
                got=f"{self.usage.tokens:,} spent, and {len(answers) - len(given):,} questions left",
                remedy="Give a larger --budget-tokens and run again with --resume: what was answered is kept.",
            )
        return given

    async def _ask(self, requests: Iterable[Request], total: int, progress: Progress | None) -> list[Answer | None]:
        answers: dict[int, Answer | None] = {}
        pending = enumerate(requests)
        self._reserved = 0
        async with Client(self.server, self.usage) as client:
            free = asyncio.Condition()
            work = (self._work(client, free, pending, answers, total, progress) for _ in range(self.concurrency))
            workers = [asyncio.create_task(one) for one in work]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
        return [answers[place] for place in range(len(answers))]

    async def _work(
        self,
        client: Client,
        free: asyncio.Condition,
        pending: Iterator[tuple[int, Request]],
        answers: dict[int, Answer | None],
        total: int,
        progress: Progress | None,
    ) -> None:
        for place, request in pending:
            answers[place] = await self._answer(client, free, request)
            if progress is not None:
                progress(len(answers), max(total, len(answers)))

    async def _answer(self, client: Client, free: asyncio.Condition, request: Request) -> Answer | None:
        key = request.key(self.model)
        kept = None if self._answers is None else self._answers.get(key)
        if kept is not None:
            self.usage.cached += 1
            return kept
        async with free:
            await free.wait_for(lambda: self._fits(request) or not self._reserved)
            if not self._fits(request):
                return None
            self._reserved += request.tokens
        try:
            answer = await client.answer(request)
            self.usage.calls += 1
            self.usage.tokens_in += answer.tokens_in
            self.usage.tokens_out += answer.tokens_out
            self._excess = max(self._excess, (answer.tokens_in + answer.tokens_out) / request.tokens)
            if self._answers is not None:
                self._answers.put(key, self.model, request.prompt, answer)
        finally:
            async with free:
                self._reserved -= request.tokens
                free.notify_all()
        return answer

    def _fits(self, request: Request) -> bool:
        most = math.inf if self.budget_tokens is None else self.budget_tokens
        # A server whose answers cost more than was estimated is expected to go on so.
        return self.usage.tokens + self._excess * (self._reserved + request.tokens) <= most


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end, also where an event loop runs already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def _check_address(base_url: str) -> str:
    if not base_url:
        raise PatchclampError(
            expected="the address of an OpenAI-compatible server, such as http://127.0.0.1:8000/v1",
            got="none",
            remedy="Start one (`transformers serve`, vLLM, llama.cpp, Ollama) or name one: --base-url URL --llm NAME. "
            "--method rule and --judge rule need no model.",
        )
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    secret = parts.username is not None or parts.password is not None
    plain = base_url.isascii() and base_url.isprintable() and " " not in base_url and len(base_url) <= 2000
    if (
        not plain
        or parts.scheme not in ("http", "https")
        or not parts.hostname
        or secret
        or parts.query
        or parts.fragment
        or port == 0
    ):
        raise PatchclampError(
            expected="an address http://HOST/v1 or https://HOST/v1, without a password, ? or #",
            got="one with a user or a password in it" if secret else repr(clean(base_url, 80)),
            remedy=f"A key belongs into the environment variable {KEY}.",
        )
    return base_url.rstrip("/")


def _check_model(model: str) -> str:
    if not model or not model.isprintable() or len(model) > 300:
        raise PatchclampError(
            expected="the name of a model, as the server calls it",
            got=repr(clean(model, 80)) if model else "none",
            remedy="Add --llm NAME; the server lists its models at BASE_URL/models.",
        )
    return model


def _read_key() -> str:
    """Return the key that the environment holds; empty where it holds none."""
    key = os.environ.get(KEY, "").strip()
    if not key.isascii() or not key.isprintable():
        raise PatchclampError(
            expected=f"a key of plain letters in {KEY}", got="other signs", remedy="Copy the key again."
        )
    return key
