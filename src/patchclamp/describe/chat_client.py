"""Send one question at a time to an OpenAI-compatible server, try again where that helps, and refuse the rest."""

import asyncio
import email.utils
import itertools
import math
import random
import re
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

from patchclamp.core.errors import PatchclampError
from patchclamp.core.json_text import parse, read_word
from patchclamp.describe.chat_answers import Answer, Request, clean, read_answer

KEY = "PATCHCLAMP_LLM_KEY"
"""Environment variable that holds the key of the server. A key under another name is never sent."""
LONGEST_BODY, LONGEST_REFUSAL = 2**23, 2**16
"""Bytes of a response, and of a refusal, that are read."""
LONGEST_WAIT = 120.0
"""Seconds that a server may ask to be waited for."""
TEMPORARY = frozenset({408, 409, 425, 429})
"""Refusals after which it is tried again, as after those from 500 on."""
OPTIONAL = ("logprobs", "top_logprobs", "seed", "temperature", "max_tokens", "max_completion_tokens")
"""Parameters that some servers refuse; such a one is left out from then on."""


@dataclass
class Usage:
    """Count what was asked and paid.

    Args:
        calls: answers that a server gave.
        tokens_in: tokens that it read.
        tokens_out: tokens that it wrote.
        seconds: for which it was waited.
        cached: answers that were kept from before.
        retries: tries after a refusal or a silence that passed.
        left_out: parameters that the server refused.
    """

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    cached: int = 0
    retries: int = 0
    left_out: list[str] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        """Tokens read and written."""
        return self.tokens_in + self.tokens_out

    def to_json(self) -> dict[str, Any]:
        """Return the counts as JSON-ready data."""
        return asdict(self)


class _Refused(Exception):
    """A status from 400 on, with the seconds that the server asks to wait, and what it said."""

    def __init__(self, status: int, wait: float | None, said: str) -> None:
        super().__init__(status)
        self.status, self.wait, self.said = status, wait, said


class _Broken(Exception):
    """An answer that did not come whole, or is none."""


@dataclass(frozen=True)
class Server:
    """Name a server, and say how long to wait for it.

    Args:
        base_url: its address, checked.
        model: as the server calls it.
        key: sent to it; empty where there is none. It is never shown.
        timeout: seconds in which an answer must be there.
        tries: of a question that is refused for now, or not answered.
        pause: seconds before the second try; it doubles from try to try.
    """

    base_url: str
    model: str
    key: str = field(repr=False)
    timeout: float
    tries: int
    pause: float


class Client:
    """Send questions to a server within one event loop.

    Args:
        server: where questions go.
        usage: counts, to which tries and parameters are added that the server refuses.
    """

    def __init__(self, server: Server, usage: Usage) -> None:
        self.server, self.usage = server, usage
        self._stack = AsyncExitStack()
        self._client: Any = None

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_problem: object) -> None:
        await self._stack.aclose()

    async def answer(self, request: Request) -> Answer:
        """Return an answer, after several tries where it must be.

        Raises:
            PatchclampError: none came.
        """
        for attempt in itertools.count(1):
            arguments = self._arguments(request)
            wait: float | None = None
            try:
                async with asyncio.timeout(self.server.timeout):
                    return await self._post(request, arguments)
            except TimeoutError:
                problem = f"no answer within {self.server.timeout:g} s"
            except _Broken as broken:
                problem = str(broken)
            except _Refused as refused:
                if self._leave_out(refused, arguments):
                    continue
                problem, wait = self._explain(refused), refused.wait
                self._refuse_at_once(refused, problem)
            if attempt >= self.server.tries:
                raise self._give_up(problem, attempt)
            self.usage.retries += 1
            await asyncio.sleep(self._pause(attempt) if wait is None else wait)
        raise AssertionError("the tries have an end")

    def _arguments(self, request: Request) -> dict[str, Any]:
        given: dict[str, Any] = {"max_tokens": request.max_tokens, "temperature": request.temperature}
        if request.temperature:
            given["seed"] = request.seed
        if request.logprobs:
            given |= {"logprobs": True, "top_logprobs": 10}
        if "max_tokens" in self.usage.left_out:
            given["max_completion_tokens"] = request.max_tokens
        return {name: value for name, value in given.items() if name not in self.usage.left_out}

    async def _post(self, request: Request, arguments: Mapping[str, Any]) -> Answer:
        messages: Any = [{"role": role, "content": _encodable(text)} for role, text in request.messages]
        client, openai = await self._open()
        body = bytearray()
        try:
            async with client.chat.completions.with_streaming_response.create(
                model=self.server.model, messages=messages, **arguments
            ) as response:
                async for part in response.iter_bytes():
                    body += part
                    if len(body) > LONGEST_BODY:
                        raise _Broken(f"an answer of more than {LONGEST_BODY:,} bytes")
        except (_Broken, TimeoutError):
            raise
        except openai.APITimeoutError as problem:
            raise TimeoutError from problem
        except Exception as problem:  # the client's own errors, and those of the HTTP library below it
            cause = problem.__cause__ or problem
            if isinstance(cause, _Refused):
                raise cause from None
            reason = clean(self._strike_key(str(cause)), 200)
            raise _Broken(f"a connection that failed ({type(cause).__name__}: {reason})") from problem
        try:
            # A server may repeat the key; what it says is kept on disk and shown.
            key = self.server.key.encode()
            return read_answer(bytes(body).replace(key, b"...") if key else bytes(body), request)
        except ValueError as problem:
            raise _Broken(str(problem)) from problem

    async def _open(self) -> tuple[Any, Any]:
        """Return the client, made at the first question that must be sent, and its module."""
        try:
            import openai
        except ImportError as problem:
            raise PatchclampError(
                expected="the package openai, which speaks with language models",
                got="an environment without it",
                remedy="pip install 'patchclamp[llm]'",
            ) from problem
        if self._client is None:
            # Tries are counted here: a request's own would neither be seen nor kept within the budget.
            made = openai.AsyncOpenAI(
                base_url=self.server.base_url,
                api_key=self.server.key or "none",
                max_retries=0,
                timeout=self.server.timeout,
                # Nothing is sent to a server that was not named, wherever this one points.
                http_client=openai.DefaultAsyncHttpxClient(
                    event_hooks={"response": [_read_refusal]}, follow_redirects=False
                ),
            )
            self._client = await self._stack.enter_async_context(made)
        return self._client, openai

    def _leave_out(self, refused: _Refused, arguments: Mapping[str, Any]) -> bool:
        """Say whether the server refused a parameter that can be left out, and leave it out from now on."""
        if refused.status not in (400, 422):
            return False
        named = [name for name in OPTIONAL if name in arguments and re.search(rf"\b{name}\b", refused.said)]
        named += ["top_logprobs"] if "logprobs" in named and "top_logprobs" not in named else []
        left_out = self.usage.left_out
        left_out += [name for name in named if name not in left_out]
        return bool(named)

    def _strike_key(self, text: str) -> str:
        return text.replace(self.server.key, "…") if self.server.key else text

    def _explain(self, refused: _Refused) -> str:
        """Return a refusal in words, without the key that a server may have repeated."""
        said = _read_message(refused.said)
        said = clean(self._strike_key(said), 200)
        return f"status {refused.status}" + (f": {said}" if said else "")

    def _refuse_at_once(self, refused: _Refused, problem: str) -> None:
        """Refuse what no further try can change.

        Raises:
            PatchclampError: a wrong key, address, model or question; no quota, or a longer wait than is sensible.
        """
        where = f"{self.server.base_url}, {problem}"
        if refused.status in (401, 403):
            has = "holds the key" if self.server.key else "is not set"
            raise PatchclampError(
                expected="a server that accepts the key",
                got=where,
                remedy=f"Put the key into the environment variable {KEY}, which {has}.",
            )
        if refused.status == 404:
            raise PatchclampError(
                expected=f"a server with the model {clean(self.server.model, 80)!r}",
                got=where,
                remedy="Look at --llm, and whether --base-url ends as the server's does, often with /v1.",
            )
        if refused.status not in TEMPORARY and refused.status < 500:
            raise PatchclampError(
                expected="a server that takes the question",
                got=where,
                remedy="Ask for fewer windows at once, or another model.",
            )
        if "insufficient_quota" in refused.said:
            raise PatchclampError(
                expected="an account with quota",
                got=where,
                remedy="Top it up, and go on with --resume: what was answered is kept.",
            )
        if refused.wait is not None and refused.wait > LONGEST_WAIT:
            raise PatchclampError(
                expected=f"a server that answers within {LONGEST_WAIT:g} s",
                got=f"{where}; it asks to wait {refused.wait:,.0f} s",
                remedy="Run again then: what was answered is kept.",
            )

    def _give_up(self, problem: str, tries: int) -> PatchclampError:
        return PatchclampError(
            expected=f"an answer from {self.server.base_url}",
            got=f"{problem}; the last of {tries} tries",
            remedy="See whether the server runs at this address, and go on with --resume: what was answered is kept.",
        )

    def _pause(self, attempt: int) -> float:
        # A share of chance, so that questions refused together do not come again together.
        return min(self.server.pause * 2 ** (attempt - 1), LONGEST_WAIT) * random.uniform(0.75, 1.25)


def _encodable(text: str) -> str:
    """Return text with question marks for halves of signs, which UTF-8 has not."""
    return text.encode(errors="replace").decode()


def _read_message(said: str) -> str:
    """Return the message of a refusal in OpenAI's form; all of it where it has another.

    Example:
        >>> _read_message('{"error": {"message": "No."}}'), _read_message("Bad gateway")
        ('No.', 'Bad gateway')
    """
    try:
        return read_word(parse(said)["error"]["message"])
    except (ValueError, TypeError, LookupError, RecursionError):
        return said


async def _read_refusal(response: Any) -> None:
    """Turn a status from 400 on into an exception, of whose text no more is read than can be shown.

    Raises:
        _Refused: such a status.
    """
    if response.status_code < 400:
        return
    said = b""
    async for part in response.aiter_bytes():
        said += part
        if len(said) >= LONGEST_REFUSAL:
            break
    text = said[:LONGEST_REFUSAL].decode(errors="replace")
    raise _Refused(response.status_code, _read_wait(response.headers.get("retry-after")), text)


def _read_wait(text: str | None) -> float | None:
    """Return the seconds that a header Retry-After states, as a number or as a date; None where it says neither.

    Example:
        >>> _read_wait("1.5"), _read_wait("Fri, 31 Dec 1999 23:59:59 GMT"), _read_wait("soon"), _read_wait("-1")
        (1.5, 0.0, None, None)
    """
    try:
        seconds = float(text or "")
    except ValueError:
        try:
            seconds = max(0.0, email.utils.parsedate_to_datetime(text or "").timestamp() - time.time())
        except (ValueError, TypeError, OverflowError, OSError):
            return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
