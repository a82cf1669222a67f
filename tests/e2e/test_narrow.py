"""Tables in terminals of any width: no figure is cut, folded lines and lists hold all of them."""

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchclamp.cli import main
from patchclamp.report.terminal.table import PlainConsole, make_table, print_table

WIDTHS = (60, 80, 130)
FIGURE = re.compile(r"[-+]?\d+\.\d+")


def squeezed(text):
    return Counter(re.sub(r"\s", "", text))


@given(
    st.lists(st.lists(st.text("ab …(0.123–+4)%", max_size=40), min_size=4, max_size=4), min_size=1, max_size=3),
    st.sampled_from([None, 20, *WIDTHS]),
    st.sets(st.sampled_from(["one", "two", "three", "four"])),
)
def test_every_sign_of_every_cell_is_printed_at_every_width(rows, width, numbers):
    table = make_table("one", "two", "three", "four", numbers=tuple(numbers))
    for row in rows:
        table.add_row(*row)
    out = PlainConsole(force_terminal=width is not None, no_color=True, width=width or 120, highlight=False)
    with out.capture() as captured:
        print_table(out, table)
    printed = re.sub(r"\x1b\[[\d;]*m", "", captured.get())
    assert squeezed("".join(map("".join, rows))) - squeezed(printed) == Counter()
    assert width is None or all(len(line.rstrip()) <= width for line in printed.splitlines())
    assert out.width == (width or 120)


@pytest.fixture(scope="module")
def dictionary(tmp_path_factory):
    folder = tmp_path_factory.mktemp("narrow")
    text = folder / "story.txt"
    text.write_text("the old cat sat on the mat.\nthe dog ran to the park.\n" * 60)
    assert main(["decompose", "organism:cat", "--method", "snmf", "--sites", "blocks.0.mlp.act", "--inputs", str(text),
                 "--n-features", "6", "--out", str(folder / "dec")]) == 0  # fmt: skip
    return folder


COMMANDS = {
    "explain": ("explain", "organism:cat", "the old cat", "--target", " sat", "--contrast", " ran", "--top", "3"),
    "evaluate": ("evaluate", "organism:cat", "{0}/dec", "--inputs", "{0}/story.txt"),
    "info features": ("info", "{0}/dec"),
    "sites": ("info", "organism:cat"),
    "info families": ("info", "--families"),
    "organism list": ("organism", "list"),
    "organism card": ("organism", "card", "language-gpt2"),
    "atlas info": ("atlas", "info", "{1}"),
}


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_a_narrow_terminal_prints_every_figure_that_a_pipe_gets(capsys, monkeypatch, dictionary, seeded_atlas, words):
    words = [word.format(dictionary, seeded_atlas) for word in words]

    def printed(width):
        monkeypatch.setenv("COLUMNS", str(width))
        capsys.readouterr()
        assert main(words) == 0
        return re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)

    piped = printed(80)
    assert "…" not in re.sub(r" …\n|, …|… and", "", piped)
    monkeypatch.setenv("FORCE_COLOR", "1")
    for width in WIDTHS:
        narrow = printed(width)
        missing = Counter(FIGURE.findall(piped)) - Counter(FIGURE.findall(narrow))
        assert not missing, (width, missing)
        for layer in re.findall(r"graph-[0-9a-f]{16}", piped):
            assert layer in re.sub(r"\s", "", narrow)
        assert all(len(line) <= width for line in narrow.splitlines() if "patchclamp " not in line), width
