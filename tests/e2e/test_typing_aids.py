"""What helps whoever types: the name that was meant, silence, an opened page, completion, no wait offline."""

import shlex
import socket
import webbrowser

import numpy as np
import pytest

from patchclamp.subjects import hub

CAT = ("explain", "organism:cat", "the old cat", "--target", " sat", "--contrast", " ran")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("explane organism:cat", "Did you mean explain?"),
        ("atlas bke", "Did you mean bake?"),
        ("record organism:cat --site embed --inputs a --out b", "Did you mean --sites?"),
        ("explain organism:cat a --target b --methd relp", "Did you mean --method?"),
        ("decompose organism:cat --method topk --kk 3 --inputs a --sites embed --out b", "Did you mean --k?"),
        ("methods eap_g", "Nearest: eap_ig."),
        ("methods attribut", "--room attribute"),
        ("info organism:movr-gpt2", "Nearest: mover-gpt2."),
    ],
)
def test_what_was_probably_meant_is_named(say, words, meant):
    code, answer, _ = say(*words.split())
    assert code == 2
    assert meant in answer["error"]["remedy"]


def test_what_resembles_nothing_names_nothing(say):
    assert "Did you mean" not in say("zzzzzz")[1]["error"]["remedy"]


def test_quiet_prints_the_result_and_nothing_else(say):
    code, out, err = say(*CAT, "--quiet", json_too=False)
    assert (code, err) == (0, "")
    assert "cat" in out
    assert say(*CAT, json_too=False)[2].startswith("loading organism:cat …\n")


def test_quiet_keeps_errors(say, tmp_path):
    code, _, err = say(*CAT, "--quiet", "--out", tmp_path / "no" / "g.json", json_too=False)
    assert code == 2
    assert err.startswith("patchclamp: expected")


def test_open_shows_the_page_that_was_written(say, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    page = tmp_path / "page.html"
    assert say(*CAT, "--report", page, "--open")[0] == 0
    assert opened == [page.as_uri()]
    assert say(*CAT, "--open")[1]["error"]["got"] == "--open alone"


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_completion_names_every_verb(say, shell):
    script = say("--completion", shell, json_too=False)[1]
    assert all(verb in script for verb in ("explain", "circuit", "atlas", "--counterpart"))


def test_without_a_network_a_model_that_is_not_there_is_refused_at_once(say, monkeypatch):
    looked_up = []

    def fail(host, *_):
        looked_up.append(host)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(hub.socket, "getaddrinfo", fail)
    monkeypatch.setattr(hub, "getproxies", dict)
    code, answer, err = say("info", "nobody/nothing")
    assert (code, looked_up) == (2, ["huggingface.co"])
    assert "no connection to the hub" in answer["error"]["got"]
    assert "Retrying" not in err


def test_a_proxy_may_know_what_this_machine_does_not(monkeypatch):
    monkeypatch.setattr(hub, "getproxies", lambda: {"https": "http://proxy"})
    monkeypatch.setattr(hub.socket, "getaddrinfo", lambda *_: 1 / 0)
    assert hub.hub_options() == {"local_files_only": False}


def test_without_an_answer_the_likeliest_are_listed_with_what_to_type(say):
    asked = ("explain", "organism:cat", "the old cat", "--top", 3)
    code, told, _ = say(*asked)
    assert code == 0
    assert [one["answer"] for one in told["candidates"][:2]] == [" sat", " ran"]
    assert told["candidates"][0]["probability"] == pytest.approx(0.98, abs=0.01)
    _, out, _ = say(*asked, json_too=False)
    typed = shlex.split(out.splitlines()[-1].partition(": ")[2])
    assert typed == ["patchclamp", *map(str, asked), "--target", " sat", "--contrast", " ran"]
    images = say("explain", "organism:digits-cnn", "digits:17")[1]["candidates"]
    assert images[0]["answer"] == "7"


def test_an_atlas_and_a_key_print_the_unit(say, seeded_atlas):
    key = "blocks.0.mlp.act/neurons/7"
    for words in (("info", seeded_atlas), ("atlas", "info", seeded_atlas)):
        code, told, _ = say(*words, key)
        assert (code, told["key"], told["statistics"]["maximum"]) == (0, f"cat/{key}", 3.0)
        _, out, _ = say(*words, key, json_too=False)
        assert out.startswith("Block 0 · MLP neuron 7  cat/blocks.0.mlp.act/neurons/7\n")
        assert out.count("»␣cat«") == 5
        assert 'fires on " cat"' in out
    code, told, _ = say("info", "organism:cat", key)
    assert (code, told["error"]["expected"]) == (2, "an atlas before the key of a unit")


@pytest.mark.parametrize(
    ("words", "flag"), [(("--top", 3, "--top", 4), "--top"), (("--seed", 1, "--seed", 1), "--seed")]
)
def test_one_value_is_given_once(say, words, flag):
    code, told, _ = say("explain", "organism:cat", "the old cat", "--target", " sat", *words)
    assert (code, told["error"]["expected"]) == (2, f"{flag} once")


def test_a_room_and_a_name_are_a_method(say):
    one = say("methods", "attribute/relp")[1]
    assert say("methods", "attribute", "relp")[1] == say("methods", "relp")[1] == one
    assert say("methods", "attribute")[1] == say("methods", "--room", "attribute")[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("explain", "organism:cat", "the old cat", "--target", ""), "an answer of one character at least"),
        (("compare", "organism:cat", "organism:cat", "--inputs", "{}", "--controls", 1_000_000), "1,000,000"),
        (("info", "{}", "--axes", "time,unit", "--bin", "-1"), "bin above 0"),
        (("info", "{}", "--axes", "time,unit", "--duration", "-1"), "duration above 0"),
        (("info", "{}", "--axes", "unit,unit,unit"), "different axes"),
    ],
)
def test_poor_values_are_refused_in_their_own_words(say, tmp_path, words, said):
    np.save(tmp_path / "r.npy", np.zeros((4, 2)))
    code, told, _ = say(*(tmp_path / "r.npy" if word == "{}" else word for word in words))
    assert code == 2
    assert said in told["error"]["expected"] + told["error"]["got"]


def test_a_graph_that_is_none_names_those_that_are(say, seeded_atlas, tmp_path):
    words = ("atlas", "export", seeded_atlas, "--format", "circuit-tracer", "--graph", "nonsense")
    code, told, _ = say(*words, "--out", tmp_path / "g.json")
    assert code == 2
    assert told["error"]["remedy"].startswith("It has graph-")
