"""A language model is asked over real connections: what servers refuse, cut, garble and delay, and what is kept."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chat_server import HOSTILE, KEY, ChatServer, serve
from patchclamp.core.errors import PatchclampError
from patchclamp.describe.chat import Chat
from patchclamp.describe.chat_answers import AnswerFolder, Request

VARIABLE = "PATCHCLAMP_LLM_KEY"


@pytest.fixture
def server(language_model):
    return language_model


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


def question(word: str, **more) -> Request:
    return Request(
        (("system", "one line a token"), ("user", f'Description: the token "a"\n1 "{word}"')), "test 1", **more
    )


def open_chat(server: ChatServer, model: str, **more) -> Chat:
    return Chat(server.address, model, **{"tries": 2, "pause": 0.01, "timeout": 5.0, **more})


def test_answers_come_in_order_and_are_counted(server):
    chat = open_chat(server, "rule-of-order", concurrency=3)
    done: list[tuple[int, int]] = []
    answers = chat.ask([question("b"), question("a"), question("c")], total=3, progress=lambda *at: done.append(at))
    assert [one.text for one in answers] == ["1: 0", "1: 10", "1: 0"]
    assert (chat.usage.calls, chat.usage.tokens_in, chat.usage.tokens_out) == (3, 300, 30)
    assert done == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("model", "expected", "got", "calls"),
    [
        ("locked", "accepts the key", "status 401: Incorrect API key", 1),
        ("forbidden", "accepts the key", "status 403: You may not.", 1),
        ("missing", "with the model 'missing-of-refusals'", "status 404", 1),
        ("strict", "takes the question", "status 400: The prompt is too long.", 1),
        ("poor", "quota", "status 429: You exceeded your quota.", 1),
        ("occupied", "answers within 120 s", "asks to wait 86,400 s", 1),
        ("down", "an answer from", "status 500: It is down.; the last of 2 tries", 2),
        ("flood", "an answer from", "status 500", 2),
        ("cut", "an answer from", "a connection that failed (RemoteProtocolError", 2),
        ("huge", "an answer from", "an answer of more than 8,388,608 bytes", 2),
        ("broken", "an answer from", 'what is no chat completion: \'{"choices": [{"mess', 2),
        ("page", "an answer from", "what is no chat completion: '<html>", 2),
        ("other", "an answer from", "what is no chat completion", 2),
        ("list", "an answer from", "what is no chat completion", 2),
    ],
)
def test_what_gives_no_answer_is_refused_in_three_parts(server, model, expected, got, calls):
    chat = open_chat(server, f"{model}-of-refusals")
    with pytest.raises(PatchclampError) as problem:
        chat.ask([question("a")])
    assert expected in problem.value.expected
    assert got in problem.value.got
    assert problem.value.remedy
    assert len(str(problem.value)) < 700
    assert server.counts()[f"{model}-of-refusals"] == calls


def test_nobody_at_the_address_and_no_answer_in_time_are_refused(server):
    with pytest.raises(PatchclampError, match="a connection that failed"):
        Chat("http://127.0.0.1:9/v1", "rule", tries=2, pause=0.01).ask([question("a")])
    with pytest.raises(PatchclampError, match=r"no answer within 0\.2 s; the last of 1 tries"):
        open_chat(server, "slow", tries=1, timeout=0.2).ask([question("a")])


@pytest.mark.parametrize("model", ["busy", "flaky", "torn"])
def test_what_is_refused_for_now_is_asked_again(server, model):
    chat = open_chat(server, f"{model}-of-again", pause=0.01)
    begun = time.monotonic()
    assert [one.text for one in chat.ask([question("a")])] == ["1: 10"]
    assert (chat.usage.calls, chat.usage.retries, server.counts()[f"{model}-of-again"]) == (1, 1, 2)
    if model == "busy":  # the server's own wish, not the pause
        assert time.monotonic() - begun >= 0.05


def test_a_parameter_that_a_server_refuses_is_left_out_from_then_on(server):
    chat = open_chat(server, "picky", concurrency=1)
    assert [one.text for one in chat.ask([question("a", logprobs=True), question("b", logprobs=True)])] == [
        "1: 10",
        "1: 0",
    ]
    assert sorted(chat.usage.left_out) == ["logprobs", "max_tokens", "temperature", "top_logprobs"]
    assert server.counts()["picky"] == 3 + 2  # three refusals, once


def test_an_answer_without_a_text_is_an_answer(server, tmp_path):
    for model, tokens in (("empty", question("a").tokens_in), ("silent", 100)):
        chat = open_chat(server, model, folder=tmp_path)
        [answer] = chat.ask([question("a")])
        assert (answer.text, answer.tokens_in) == (None, tokens)
        assert chat.ask([question("a")]) == [answer]
        assert server.counts()[model] == 1


def test_a_stranger_s_text_is_kept_as_it_came(server, tmp_path):
    chat = open_chat(server, "hostile", folder=tmp_path)
    first, second = chat.ask([question("a")]), chat.ask([question("a")])
    assert first == second
    assert first[0].text == HOSTILE[:20_000]


def test_no_answer_is_paid_twice(server, tmp_path):
    asked = [question(word) for word in "abcd"]
    chat = open_chat(server, "rule-of-twice", folder=tmp_path)
    first = chat.ask(asked[:3])
    again = open_chat(server, "rule-of-twice", folder=tmp_path)
    assert again.estimate(asked).calls == 1
    assert again.ask(asked)[:3] == first
    assert (again.usage.calls, again.usage.cached, server.counts()["rule-of-twice"]) == (1, 3, 4)
    assert open_chat(server, "rule-of-others", folder=tmp_path).estimate(asked).calls == 4


@pytest.mark.parametrize("change", ["prompt", "max_tokens", "temperature", "logprobs", "seed", "words"])
def test_another_question_has_another_answer(change):
    one = question("a", temperature=0.5)
    others = {
        "prompt": Request(one.messages, "test 2", temperature=0.5),
        "max_tokens": question("a", temperature=0.5, max_tokens=9),
        "temperature": question("a", temperature=0.6),
        "logprobs": question("a", temperature=0.5, logprobs=True),
        "seed": question("a", temperature=0.5, seed=1),
        "words": question("b", temperature=0.5),
    }
    assert others[change].key("model") != one.key("model") != one.key("other")
    assert question("a", temperature=0.5).key("model") == one.key("model")


def test_a_damaged_answer_is_asked_for_anew(server, tmp_path):
    open_chat(server, "rule-of-damage", folder=tmp_path).ask([question("a")])
    [file] = tmp_path.rglob("*.json")
    file.write_bytes(file.read_bytes().replace(b"1: 10", b"1: 11"))
    again = open_chat(server, "rule-of-damage", folder=tmp_path)
    assert again.ask([question("a")])[0].text == "1: 10"
    assert again.usage.calls == 1


KILLED = """
import sys
sys.path[:0] = {path!r}
from test_chat_client import question
from patchclamp.describe.chat import Chat
chat = Chat({address!r}, "steady-of-kill", folder={folder!r}, concurrency=2)
chat.ask([question(f"w{{i}}") for i in range(40)], progress=lambda done, total: print(done, flush=True))
"""


def test_a_killed_run_goes_on_without_paying_twice(server, tmp_path):
    code = KILLED.format(path=[str(Path(__file__).parent), *sys.path], address=server.address, folder=str(tmp_path))
    run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    while int(run.stdout.readline()) < 10:
        pass
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    run.stdout.close()
    kept = len(list(tmp_path.rglob("*.json")))
    chat = open_chat(server, "steady-of-kill", folder=tmp_path)
    answers = chat.ask([question(f"w{i}") for i in range(40)])
    assert [one.text for one in answers] == ["1: 0"] * 40
    assert kept >= 10
    assert (chat.usage.cached, chat.usage.calls) == (kept, 40 - kept)
    assert server.counts()["steady-of-kill"] <= 40 + 2  # what was on its way when it was killed


def test_the_budget_is_checked_before_and_kept_to(server, tmp_path):
    asked = [question(word, max_tokens=20) for word in "abcdefgh"]
    cost = asked[0].tokens
    with pytest.raises(PatchclampError, match=f"8 calls of {8 * cost:,} tokens at most"):
        open_chat(server, "rule-of-budget", budget_tokens=8 * cost - 1).refuse_beyond_budget(asked)
    assert "rule-of-budget" not in server.counts()
    # The server counts 110 tokens an answer, whatever was estimated: after four of them a fifth does not fit.
    chat = open_chat(server, "rule-of-budget", budget_tokens=440 + cost - 1, folder=tmp_path, concurrency=4)
    assert chat.refuse_beyond_budget(asked[:2]).tokens == 2 * cost
    answers = chat.ask(asked)
    assert sum(one is None for one in answers) == 4
    assert chat.usage.tokens == 440 <= chat.budget_tokens
    more = open_chat(server, "rule-of-budget", budget_tokens=10_000, folder=tmp_path)
    assert None not in more.ask(asked)
    assert (more.usage.cached, more.usage.calls) == (4, 4)


def test_no_more_questions_are_asked_at_once_than_allowed():
    for concurrency in (1, 3):
        with serve() as own:
            open_chat(own, "steady", concurrency=concurrency).ask([question(f"w{i}") for i in range(9)])
            assert own.counts()["most"] == concurrency


def test_a_refusal_stops_the_rest_and_what_was_answered_is_kept(server, tmp_path):
    good = [question("a"), question("b")]
    open_chat(server, "locked-of-part", folder=tmp_path)
    os.environ[VARIABLE] = KEY
    try:
        open_chat(server, "locked-of-part", folder=tmp_path).ask(good)
    finally:
        del os.environ[VARIABLE]
    with pytest.raises(PatchclampError, match="accepts the key"):
        open_chat(server, "locked-of-part", folder=tmp_path, concurrency=1).ask([*good, question("c"), question("d")])
    assert server.counts()["locked-of-part"] == 2 + 1


def test_the_key_is_sent_and_neither_shown_nor_written(server, tmp_path, monkeypatch, capfd, caplog):
    caplog.set_level("DEBUG")
    monkeypatch.setenv(VARIABLE, KEY)
    chat = open_chat(server, "locked-of-keys", folder=tmp_path)
    assert chat.ask([question("a")])[0].text == "1: 10"
    wrong = "sk-another-key"
    monkeypatch.setenv(VARIABLE, wrong)
    with pytest.raises(PatchclampError) as problem:
        open_chat(server, "locked-of-keys").ask([question("b")])
    assert "Incorrect API key provided: …." in problem.value.got
    shown = str(problem.value) + repr(chat) + repr(chat.server) + "".join(capfd.readouterr()) + caplog.text
    written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert KEY not in shown
    assert wrong not in shown
    assert KEY.encode() not in written
    monkeypatch.setenv(VARIABLE, "kéy")
    with pytest.raises(PatchclampError, match="a key of plain letters"):
        Chat(server.address, "rule")


def test_a_key_of_another_name_is_never_sent(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(PatchclampError, match="is not set"):
        open_chat(server, "locked-of-names").ask([question("a")])


@pytest.mark.parametrize(
    ("address", "model", "got"),
    [
        ("", "m", "none"),
        ("127.0.0.1:8000/v1", "m", "'127.0.0.1:8000/v1'"),
        ("ftp://host/v1", "m", "ftp"),
        ("http:///v1", "m", "http:///v1"),
        ("http://host:99999/v1", "m", "host:99999"),
        ("http://host/v1?key=1", "m", "key=1"),
        ("http://a b/v1", "m", "a b"),
        ("http://[::1/v1", "m", "::1"),
        ("http://me:secret@host/v1", "m", "one with a user or a password in it"),
        ("http://host/v1", "", "none"),
        ("http://host/v1", "m\n", "'m'"),
    ],
)
def test_an_address_or_a_model_that_is_none_is_refused_before_anything_is_sent(address, model, got):
    with pytest.raises(PatchclampError) as problem:
        Chat(address, model)
    assert got in problem.value.got
    assert "secret" not in str(problem.value)


def test_without_the_package_the_extra_is_named_and_kept_answers_serve(server, tmp_path, monkeypatch):
    [kept] = open_chat(server, "rule-of-package", folder=tmp_path).ask([question("a")])
    monkeypatch.setitem(sys.modules, "openai", None)
    assert open_chat(server, "rule-of-package", folder=tmp_path).ask([question("a")]) == [kept]
    with pytest.raises(PatchclampError, match=r"pip install 'patchclamp\[llm\]'"):
        open_chat(server, "rule-of-package", folder=tmp_path).ask([question("b")])


def test_the_package_is_imported_at_the_first_question_alone():
    code = "import sys, patchclamp.describe.chat, patchclamp.describe.judges.llm; assert 'openai' not in sys.modules"
    assert (
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": ":".join(sys.path)}).returncode
        == 0
    )


def test_it_runs_within_an_event_loop_as_in_a_notebook(server):
    async def ask():
        return open_chat(server, "rule").ask([question("a")])

    assert asyncio.run(ask())[0].text == "1: 10"


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    from patchclamp.describe.chat_answers import Answer

    with pytest.raises(PatchclampError, match="to write"):
        AnswerFolder(tmp_path / "file").put("ab" * 32, "m", "p 1", Answer("x", 1, 1))
