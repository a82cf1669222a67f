"""A server on the loopback that speaks OpenAI's chat completions, a process of its own; the model names what it does.

It counts what it was asked, and answers what it should by rules: so what a client and a judge must get is known.
"""

import asyncio
import json
import re
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEY = "key-of-the-stand-in"
HOSTILE = (
    "EXPLANATION: \x1b[31mred\x1b[0m <script>alert(1)</script> \u202egnp\u0000\ud800 ![x](http://evil/) "
    + "long " * 999
)


@dataclass(frozen=True)
class ChatServer:
    """Say where a server is, and what it was asked."""

    address: str

    def counts(self) -> dict[str, int]:
        """Return how often each model was asked; ``most`` is how many questions there were at once at most."""
        with urllib.request.urlopen(self.address.removesuffix("/v1") + "/counts", timeout=10) as response:
            return json.load(response)


@contextmanager
def serve() -> Iterator[ChatServer]:
    """Serve at a port of its own, for as long as the context lasts."""
    process = subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        port = int(process.stdout.readline())
        yield ChatServer(f"http://127.0.0.1:{port}/v1")
    finally:
        process.kill()  # a question may still wait for its answer
        process.wait(10)
        process.stdout.close()


def answer_by_rules(messages: list[dict[str, str]]) -> str:
    """Return what a model that knows rules would say: the token marked most often, or where a rule fires."""
    from patchclamp.describe.judge import Window
    from patchclamp.describe.judges.rule import RuleJudge
    from patchclamp.describe.rules import quote

    asked, task = messages[-1]["content"], messages[0]["content"]
    lines = [line.partition(": ")[2] for line in asked.splitlines() if line.startswith("Passage")]
    if "EXPLANATION" in task:
        marked = Counter(token for line in lines for token in re.findall(r"<<(.+?)>>", line))
        best = min(marked, key=lambda token: (-marked[token], token)) if marked else "nothing"
        return f"The marked tokens agree.\nEXPLANATION: the token {quote(best)}"
    if "Text A" in asked:
        texts = re.findall(r"^Text [AB]: (.*)$", asked, re.MULTILINE)
        return "accuracy\nclarity" if "one point of view a line" in task else f"[{len(texts[0])}, {len(texts[1])}]"
    if "does not belong" in task:
        marks = [re.findall(r"<<(.+?)>>", line) for line in lines]
        return next(
            str(i) for i, own in enumerate(marks, 1) if all(own != other for other in marks if other is not own)
        )
    description = asked.splitlines()[0].removeprefix("Description: ")
    if "one line a token" in task:
        tokens = [json.loads(text) for text in re.findall(r'^\d+ (".*")$', asked, re.MULTILINE)]
        [fired] = RuleJudge().simulate(description, [Window(tuple(tokens))])
        return "\n".join(f"{i}: {value:.0f}" for i, value in enumerate(fired, 1))
    windows = [Window(tuple(re.findall(r" ?\w+|\W", line.replace("<<", "").replace(">>", "")))) for line in lines]
    fits = RuleJudge().fits(description, windows)
    if "marked token fits" in task:
        marks = [re.findall(r"<<(.+?)>>", line) for line in lines]
        fits = [all(RuleJudge().fits(description, [Window((token,))])[0] for token in own) for own in marks]
    return json.dumps([0 if one is None else int(one) for one in fits])


def make_app() -> Any:
    """Return the server's application."""
    from fastapi import FastAPI, Request
    from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse

    app, counts, busy = FastAPI(), Counter(), Counter()
    seen: Counter = Counter()

    def complete(text: str | None, **more: Any) -> Response:
        choices = [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}, **more}]
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        body = {"id": "1", "object": "chat.completion", "created": 1, "model": "x", "choices": choices, "usage": usage}
        return Response(json.dumps(body), media_type="application/json")

    def refuse(status: int, message: str, code: str = "", **headers: str) -> Response:
        return JSONResponse({"error": {"message": message, "code": code}}, status, headers)

    def pour(parts: int, end: Exception | None = None) -> Iterator[bytes]:
        yield b'{"choices": [{"message": {"content": "'
        for _ in range(parts):
            yield b"x" * 2**16
        if end is not None:
            raise end

    @app.get("/counts")
    def count() -> dict[str, int]:
        return dict(counts)

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        busy["now"] += 1
        counts["most"] = max(counts["most"], busy["now"])
        try:
            return await answer(request, await request.json())
        finally:
            busy["now"] -= 1

    async def answer(request: Request, data: dict[str, Any]) -> Response:
        model, messages = data["model"], data["messages"]
        counts[model] += 1
        seen[json.dumps([model, messages])] += 1
        first, key = seen[json.dumps([model, messages])] == 1, request.headers.get("authorization", "")
        kind, _, _ = model.partition("-of-")
        match kind:
            case "locked" if key != f"Bearer {KEY}":
                return refuse(401, f"Incorrect API key provided: {key.removeprefix('Bearer ')}.")
            case "forbidden":
                return refuse(403, "You may not.")
            case "missing":
                return refuse(404, f"The model {model} does not exist.")
            case "slow":
                await asyncio.sleep(30)
            case "steady":
                await asyncio.sleep(0.05)
            case "busy" if first:
                return refuse(429, "Slow down.", **{"Retry-After": "0.05"})
            case "occupied":
                return refuse(429, "Come back tomorrow.", **{"Retry-After": "86400"})
            case "poor":
                return refuse(429, "You exceeded your quota.", "insufficient_quota")
            case "flaky" if first:
                return refuse(503, "Starting.")
            case "down":
                return refuse(500, "It is down.")
            case "flood":
                return StreamingResponse(pour(2**14), 500)
            case "cut":
                return StreamingResponse(pour(1, ConnectionError()), media_type="application/json")
            case "torn" if first:
                return StreamingResponse(pour(1, ConnectionError()), media_type="application/json")
            case "huge":
                return StreamingResponse(pour(2**14), media_type="application/json")
            case "broken":
                return Response('{"choices": [{"mess', media_type="application/json")
            case "page":
                return HTMLResponse("<html><title>Sign in</title></html>")
            case "other":
                return JSONResponse({"choices": [{"message": {"content": 7}}]})
            case "list":
                return JSONResponse([1, 2])
            case "empty":
                return JSONResponse({"choices": [], "usage": {"prompt_tokens": -5, "completion_tokens": "many"}})
            case "silent":
                return complete(None)
            case "picky" if given := [name for name in ("max_tokens", "logprobs", "temperature") if name in data]:
                return refuse(400, f"Unsupported parameter: '{given[0]}' is not supported with this model.")
            case "strict":
                return refuse(400, "The prompt is too long.")
            case "hostile":
                return complete(HOSTILE)
            case "vague":
                return complete("I would say that it fits, mostly.")
            case "probable":
                n = messages[-1]["content"].count("Passage ")
                tokens = [part for i in range(n) for part in (("[" if i == 0 else ", "), "1")] + ["]"]
                content = [
                    {"token": token, "logprob": -0.3567, "top_logprobs": [
                        {"token": "1", "logprob": -0.3567}, {"token": " 0", "logprob": -1.2040},
                    ] if token == "1" else []}
                    for token in tokens
                ]  # fmt: skip
                return complete("".join(tokens), logprobs={"content": content})
        return complete(answer_by_rules(messages))

    return app


def main() -> None:
    """Serve, and print the port."""
    import socket

    import uvicorn

    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen(128)
    print(taken.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(make_app(), log_level="critical", ws="none")).run([taken])


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1] / "src"))
    main()
