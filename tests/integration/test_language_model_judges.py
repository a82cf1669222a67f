"""A language model describes and judges through a real server; one that knows rules, so that what is right is known."""

import json
import os
import socket
import subprocess
import sys
import time
import unicodedata
import urllib.error
import urllib.request
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest

from chat_server import KEY
from oracles import llm as oracle
from patchclamp.calibrate.corpora import make_evidence
from patchclamp.core.descriptions import Descriptions
from patchclamp.core.errors import PatchclampError
from patchclamp.core.exemplars import Exemplars
from patchclamp.core.method_files import find_method
from patchclamp.core.site import Site
from patchclamp.core.stimulus import Stimulus
from patchclamp.describe.chat import Chat
from patchclamp.describe.judge import Chooser, Judge, Window
from patchclamp.describe.judges.llm import LLMJudge
from patchclamp.describe.judges.llm_pair import LLMPairJudge
from patchclamp.describe.judges.rule import RuleJudge
from patchclamp.describe.methods.llm import LLMOptions, Questions, estimate_cost
from patchclamp.describe.panel import PairJudge, judge_pair
from patchclamp.describe.prompts import load_prompt
from patchclamp.organisms import build

SITE = "blocks.0.mlp.act"
LLM = find_method("llm", "describe")


def open_judge(server, model: str, **more) -> LLMJudge:
    return LLMJudge(Chat(server.address, model, **{"tries": 2, "pause": 0.01, "timeout": 10.0, **more}))


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("PATCHCLAMP_LLM_KEY", raising=False)


@pytest.fixture(scope="module")
def windows() -> list[Window]:
    draw = np.random.default_rng(0)
    words = [" cat", " dog", " mat", " sat", " ran"]
    return [Window(tuple(draw.choice(words, 6).tolist())) for _ in range(23)]


RULE = 'the token " cat"'


def test_a_model_that_knows_rules_judges_as_a_rule_matcher_does(language_model, windows):
    judge, rules = open_judge(language_model, "rule-of-judges"), RuleJudge()
    draw = np.random.default_rng(1)
    marks = [np.arange(6) == draw.integers(6) for _ in windows]
    assert isinstance(judge, Judge)
    assert isinstance(judge, Chooser)
    fits, marked = judge.fits(RULE, windows), judge.fits_marked(RULE, windows, marks)
    assert fits == rules.fits(RULE, windows)
    assert marked == rules.fits_marked(RULE, windows, marks)
    assert {0.0, 1.0} == set(fits) == set(marked)
    assert language_model.counts()["rule-of-judges"] == 2 * 5  # 23 windows, five at a time
    for own, true in zip(judge.simulate(RULE, windows[:4]), rules.simulate(RULE, windows[:4]), strict=True):
        np.testing.assert_array_equal(own, true)
    odd = [np.array([token == (" dog" if place == 2 else " cat") for token in (" cat", " dog")]) for place in range(4)]
    assert judge.choose_odd([Window((" cat", " dog"))] * 4, odd) == 2
    assert judge.unread == 0


def test_what_cannot_be_read_is_missing_and_counted(language_model, windows):
    for model in ("vague", "silent", "empty"):
        judge = open_judge(language_model, model)
        assert judge.fits(RULE, windows) == [None] * 23
        assert judge.simulate(RULE, windows[:2]) == [None, None]
        assert judge.choose_odd(windows[:3], [np.ones(6, dtype=bool)] * 3) is None
        assert judge.unread == 23 + 2 + 1


def test_probabilities_of_tokens_are_used_where_a_server_gives_them(language_model, windows):
    given = open_judge(language_model, "probable").fits(RULE, windows)
    np.testing.assert_allclose(given, 0.7 / (0.7 + 0.3), atol=1e-3)


def test_the_same_question_is_not_asked_twice_and_windows_are_shuffled(language_model, windows, tmp_path):
    judge = open_judge(language_model, "rule-of-order-2", folder=tmp_path)
    first = judge.fits(RULE, windows)
    assert judge.fits(RULE, windows) == first
    assert judge.calls == 5
    asked = [request.messages[-1][1] for _, request in judge.ask_fits(RULE, windows)]
    shown = [line.partition(": ")[2] for text in asked for line in text.splitlines() if line.startswith("Passage")]
    in_order = ["".join(window.tokens) for window in windows]
    assert sorted(shown) == sorted(in_order)
    assert shown != in_order
    assert judge.estimate([(RULE, windows), ('the token " dog"', windows)]).calls == 5


def test_a_judge_stops_at_its_budget(language_model, windows):
    judge = open_judge(language_model, "rule-of-judged-budget", budget_tokens=1000, concurrency=1)
    with pytest.raises(PatchclampError, match="questions left"):
        [judge.fits(f'the token " {word}"', windows) for word in "abc"]
    assert judge.tokens <= 1000


def test_a_panel_asks_a_language_model_from_all_sides(language_model):
    judge = LLMPairJudge(Chat(language_model.address, "rule-of-panels"))
    assert isinstance(judge, PairJudge)
    assert judge.propose("Which is longer?", "short", "much longer") == ("accuracy", "clarity")
    verdict = judge_pair(judge, "Which is longer?", "abc", "abcdefg")
    assert (verdict.means, verdict.winner, verdict.missing) == ((3.0, 7.0), "second", 0)
    vague = LLMPairJudge(Chat(language_model.address, "vague"))
    assert vague.compare("Which?", "a", "b", "accuracy", ()) is None


# -- descriptions -----------------------------------------------------------------------------------------------------


@cache
def evidence() -> tuple:
    subject = build("cat")
    return subject, make_evidence(subject, SITE)[0]


def options_of(server, model: str, **more) -> dict:
    return {"base_url": server.address, "llm": model, **more}


def test_every_unit_is_described_as_the_plain_oracle_does(language_model):
    subject, exemplars = evidence()
    given = options_of(language_model, "rule-of-units", examples=7, contrastive=2)
    done: list[tuple[int, int]] = []
    described = LLM(subject, exemplars, seed=3, progress=lambda *at: done.append(at), **given)
    expected = oracle.sentences(subject, exemplars, LLM.make_options(given), seed=3)
    assert [described.text(place) for place in range(len(described))] == [one or "" for one in expected]
    assert len(set(expected)) > 3
    assert done[-1] == (len(described), len(described))
    assert described.author == "llm/rule-of-units, explain 1"
    assert described.provenance.extra["prompt"] == "explain 1"
    assert described.provenance.extra["usage"]["calls"] == len(described)
    assert described.evidence[0] == f"exemplars {exemplars.hash[:16]}"


def test_same_seed_same_descriptions_and_another_shows_other_windows(language_model):
    subject, exemplars = evidence()
    texts = [
        oracle.passages(subject, exemplars, int(exemplars.units[0]), LLMOptions(examples=5), seed) for seed in (0, 0, 1)
    ]
    assert texts[0] == texts[1] != texts[2]
    given = options_of(language_model, "rule-of-seeds", examples=5)
    first, again = (LLM(subject, exemplars, seed=1, **given) for _ in range(2))
    assert first.terms.tobytes() == again.terms.tobytes()
    assert first.vocabulary == again.vocabulary


def test_a_window_is_shown_with_marks_and_activations_from_0_to_10(language_model):
    subject = SimpleNamespace(name="toy", answer_name=lambda i: [" the", " red", " cat", "\n", ' "'][i])
    shown = [Stimulus.of(np.array(ids)) for ids in ([0, 1, 2, 3], [4, 2, 0], [0, 3])]
    parts = {"unit": [2, 2], "value": [4.0, 2.0], "position": [2, 1], "stimulus": [0, 1], "numbers": [5, 6, 7]}
    values = [np.array([0.1, 1.3, 4.0, -1.0]), np.array([0.0, 2.0, 0.7])]
    active = Exemplars.of(Site(SITE, "mlp.act", 4), shown, kind="top", activations=values, **parts)
    [request] = Questions(subject, active, LLMOptions(), 0).requests()
    assert request.messages[-1] == (
        "user",
        "Passage 1, it fires:  the<< red cat>>⏎\n"
        '  " red" 4, " cat" 10\n'
        'Passage 2, it fires:  "<< cat the>>\n'
        '  " cat" 5, " the" 2',
    )
    assert request.messages[0] == load_prompt("explain").messages[0]


def test_a_unit_without_an_answer_or_a_budget_has_no_sentence(language_model, tmp_path):
    subject, exemplars = evidence()
    given = options_of(language_model, "vague", examples=3)
    silent = LLM(subject, exemplars, **options_of(language_model, "silent", examples=3))
    assert (silent.terms < 0).all()
    assert silent.provenance.extra["unread"] == len(silent)
    cost = estimate_cost(subject, exemplars, LLMOptions(**given))
    assert cost.calls == len(silent)
    with pytest.raises(PatchclampError, match="the budget"):
        LLM(subject, exemplars, budget_tokens=cost.tokens - 1, **given)


def test_a_stranger_s_text_becomes_one_line_that_can_be_shown(language_model, tmp_path):
    subject, exemplars = evidence()
    described = LLM(subject, exemplars, **options_of(language_model, "hostile", examples=3))
    text = described.text(0)
    assert text.startswith("[31mred[0m <script>alert(1)</script> gnp")
    assert len(text) <= 300
    assert not [c for c in text if unicodedata.category(c)[0] == "C"]
    described.save(tmp_path / "new")
    assert Descriptions.load(tmp_path / "new").text(0) == text


def test_the_key_is_in_nothing_that_is_written(language_model, tmp_path, monkeypatch):
    monkeypatch.setenv("PATCHCLAMP_LLM_KEY", KEY)
    subject, exemplars = evidence()
    given = options_of(language_model, "locked-of-units", examples=3, answers=tmp_path / "answers")
    described = LLM(subject, exemplars, **given)
    assert (described.terms >= 0).all()
    described.save(tmp_path / "new")
    written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert KEY.encode() not in written
    assert KEY not in json.dumps(described.to_json())


def test_without_a_server_nothing_is_asked_and_the_way_out_is_named():
    subject, exemplars = evidence()
    with pytest.raises(PatchclampError, match=r"--base-url URL --llm NAME.*--method rule"):
        LLM(subject, exemplars)


# -- transformers' own server -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stories_server(stories):
    """Serve stories260K by ``transformers serve``, offline."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["serve", str(stories), "--port", str(port), "--host", "127.0.0.1", "--device", "cpu"]
    code = "import sys; from transformers.cli.transformers import main; sys.argv[0] = 'transformers'; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process)
        yield SimpleNamespace(address=f"http://127.0.0.1:{port}/v1")
    finally:
        process.kill()
        process.wait()


def wait_for(address: str, process: subprocess.Popen) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            assert process.poll() is None, "the server ended"
            time.sleep(0.1)
    raise AssertionError("the server does not answer")


def test_transformers_own_server_describes_and_judges(stories_server, stories, windows, tmp_path):
    """A tiny model proves the protocol, never quality."""
    subject, exemplars = evidence()
    some = exemplars.take(np.flatnonzero(np.isin(exemplars.unit, exemplars.units[:3])))
    given = options_of(stories_server, str(stories), examples=2, contrastive=1, answer_tokens=16, answers=tmp_path)
    first, again = (LLM(subject, some, **given) for _ in range(2))
    usage = first.provenance.extra["usage"]
    assert (usage["calls"], usage["cached"]) == (3, 0)
    assert 0 < usage["tokens_out"] <= 3 * 16
    assert again.provenance.extra["usage"]["cached"] == 3
    assert first.terms.tolist() == again.terms.tolist()
    judge = open_judge(stories_server, str(stories), folder=tmp_path)
    answers = judge.fits(RULE, windows[:5])
    assert len(answers) == 5
    assert judge.unread == answers.count(None)
    with pytest.raises(PatchclampError, match="status 400"):
        open_judge(stories_server, "nobody/nothing").fits(RULE, windows[:5])
