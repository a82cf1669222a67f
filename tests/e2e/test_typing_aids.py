"""What helps whoever types: the name that was meant, silence, an opened page, completion, no wait offline."""

import socket
import webbrowser

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
