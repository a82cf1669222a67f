"""Every error says what was expected, what came and what to do: no part is missing or empty, and the sentence reads."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("expected", "got", "remedy")
KINDS = ("PatchclampError", "CannotIntervene", "Damaged")


def texts(node: ast.expr) -> list[str]:
    """Return what an expression may say, as far as it stands in the source; … for what is put in at run time."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=parts):
            return ["".join(texts(part)[0] for part in parts)]
        case ast.IfExp(body=one, orelse=other):
            return [*texts(one), *texts(other)]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return [first + second for first in texts(left) for second in texts(right)]
    return ["…"]


def faults(source: str) -> tuple[int, list[str]]:
    """Return how many errors a source makes, and what is wrong with them."""
    made, wrong = 0, []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or getattr(node.func, "id", getattr(node.func, "attr", "")) not in KINDS:
            continue
        made += 1
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        if None in given:  # **parts of another error
            continue
        wrong += [f"line {node.lineno}: no {part}" for part in PARTS if part not in given]
        for part in given.keys() & set(PARTS):
            for text in texts(given[part]):
                # They are joined as "expected A; got B. C".
                if not text.strip() or (part != "remedy" and text.rstrip().endswith(".")):
                    wrong.append(f"line {node.lineno}: {part} is {text!r}")
    return made, wrong


def test_every_error_has_three_parts_that_make_a_sentence():
    found = {
        file.relative_to(ROOT).as_posix(): faults(file.read_text())
        for file in sorted((ROOT / "src").rglob("*.py"))
        if file.name != "errors.py"
    }
    assert sum(made for made, _ in found.values()) > 500
    assert {name: wrong for name, (_, wrong) in found.items() if wrong} == {}


@pytest.mark.parametrize(
    "call",
    [
        "PatchclampError(expected='a file', got='none')",
        "PatchclampError(expected='', got='none', remedy='Give one.')",
        "errors.Damaged(expected='a file', got=f' ', remedy='Give one.')",
        "CannotIntervene(expected='a file', got='none', remedy='Give one.' if many else '')",
        "PatchclampError(expected='a file.', got='none', remedy='Give one.')",
    ],
)
def test_the_check_sees_what_is_missing(call):
    assert len(faults(call)[1]) == 1
    assert faults("PatchclampError(expected='a file', got=repr(x), remedy=f'Give {name}.')") == (1, [])
