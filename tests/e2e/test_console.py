"""The console: what comes from prompts, tokens, files and atlases reaches the terminal as text, never as a command."""

import io
import json
import shutil
import sys
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

import patchclamp as pc
from patchclamp.atlas.store.layers import write_descriptions
from patchclamp.cli import main
from patchclamp.cli.console import PlainStream
from patchclamp.cli.verbs import info
from patchclamp.core.description import Description
from patchclamp.core.errors import PatchclampWarning
from patchclamp.core.plain_text import plain
from patchclamp.core.unit import UnitKey
from patchclamp.report.terminal.table import make_table, open_console, print_table

COMMANDS = "\x1b[31mred\x1b]0;title\x07\r\x08\x7f\x9b31m\u202eback\u2066\u200f"
CONTROLS = {chr(i) for i in (*range(32), 127, *range(128, 160)) if chr(i) not in "\n\t"} | set(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029"
)


def assert_plain(text: str) -> None:
    assert not CONTROLS & set(text), ascii(text)


@given(st.text(st.characters(max_codepoint=0x2100)))
def test_plain_leaves_no_command_and_keeps_a_json_document(text):
    shown = plain(text)
    assert not CONTROLS & set(shown)
    assert shown == text or CONTROLS & set(text)
    assert json.loads(plain(json.dumps(text, ensure_ascii=False))) == text


@pytest.mark.parametrize("json_too", [False, True])
@pytest.mark.parametrize(
    "words",
    [
        ("generate", "organism:language-gpt2", f"The old{COMMANDS} cat", "--max-new-tokens", "2"),
        ("explain", "organism:cat", f"the old cat{COMMANDS}", "--target", " sat", "--contrast", " ran"),
        ("info", f"no/{COMMANDS}"),
        ("info", f"./{COMMANDS}"),
        ("nonesuch", COMMANDS),
    ],
    ids=lambda words: words[0],
)
def test_no_command_of_a_prompt_or_a_path_reaches_the_terminal(capsys, words, json_too):
    try:
        main([*words, *(["--json"] if json_too else [])])
    finally:
        out, err = capsys.readouterr()
    assert_plain(out)
    assert_plain(err)
    assert out + err


def test_no_command_of_a_received_atlas_reaches_the_terminal(capsys, seeded_atlas, tmp_path):
    atlas = shutil.copytree(seeded_atlas, tmp_path / "received.atlas")
    unit = UnitKey("blocks.0.mlp.act", 7, subject="cat")
    write_descriptions(atlas, [Description(unit, f"cats {COMMANDS}", f"person/{COMMANDS}")])
    assert main(["atlas", "info", str(atlas)]) == 0
    out, err = capsys.readouterr()
    assert "u001b" in out, "the author is shown"
    assert_plain(out + err)


def test_a_token_that_is_half_a_character_is_shown_as_its_bytes(capsys):
    rules = pc.load("organism:language-gpt2").tokenizer
    ids = rules.stimulus("猫 😀", bos=False).ids.tolist()
    shown = [rules.token(i) for i in ids]
    assert not any("�" in token for token in shown)
    halves = [token.removeprefix("<0x").removesuffix(">") for token in shown if token.startswith("<0x")]
    assert bytes.fromhex("".join(halves)) in "猫😀".encode()
    assert (
        main(
            ["explain", "organism:language-gpt2", "The 猫 cat", "--target", " sat", "--method", "attribution_patching"]
        )
        == 0
    )
    out = capsys.readouterr().out
    assert "�" not in out


def test_columns_are_as_wide_as_what_is_shown(capsys):
    table = make_table("a", "b")
    table.add_row("\x1b" * 3, "x")
    table.add_row("y", "\x9b")
    out = open_console()
    print_table(out, table)
    lines = capsys.readouterr().out.splitlines()
    assert [line.find(sign) for line, sign in zip(lines[1:], ("x", "\\u009b"), strict=True)] == [20, 20]


def test_bars_of_other_libraries_move_on_standard_error_alone():
    stream = io.StringIO()
    PlainStream(stream, is_error=True).write("\rLoading 5%\x1b")
    PlainStream(stream, is_error=True).write("\n\x1b[A\x1b[A")
    PlainStream(stream).write("\rLoading 5%")
    assert stream.getvalue() == "\rLoading 5%\\u001b\n\x1b[A\x1b[A\\u000dLoading 5%"


def test_warnings_of_ours_are_notes_and_streams_come_back(capsys, monkeypatch):
    def warn(_options):
        warnings.warn("weights \x1b left over", PatchclampWarning, stacklevel=1)
        return 0

    monkeypatch.setattr(info, "run", warn)
    before = sys.stdout, sys.stderr, warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        shown = warnings.showwarning
        assert main(["info", "--families"]) == 0
        assert warnings.showwarning is shown
    assert (sys.stdout, sys.stderr, warnings.showwarning) == before
    assert capsys.readouterr().err == "note: weights \\u001b left over\n"


def test_a_nul_in_an_argument_is_refused(say):
    code, told, _ = say("atlas", "info", "a\0b")
    assert code == 2
    assert "NUL" in told["error"]["expected"]


@pytest.mark.parametrize(("closed", "code"), [("stdout", 0), ("stderr", 2)])
def test_a_stream_that_was_closed_before_the_start_is_no_defect(closed, code, capsys, monkeypatch):
    """`patchclamp … >&-` gives Python no stream at all."""
    monkeypatch.setattr(sys, closed, None)
    assert main(["info", "organism:cat" if code == 0 else "./nosuch"]) == code
    assert "defect" not in "".join(capsys.readouterr())
