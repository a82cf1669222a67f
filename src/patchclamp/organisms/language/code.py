"""The same small programs in Python, C++, Julia and Java, and what must come next in them."""

import re
from collections.abc import Callable
from random import Random

from patchclamp.organisms.language import words
from patchclamp.organisms.language.labelled_line import Line, Mark

PROGRAMMING = ("python", "cpp", "julia", "java")
VARIABLES = words.split_words(
    "a b c d k m n p q r s t u v w x y z total count size sum limit value score length width depth"
)
FUNCTIONS = words.split_words("add join scale merge shift blend")
LISTS = words.split_words("items values points marks rows")
KEYWORDS = frozenset(
    words.split_words(
        "def return if else while for in print function end println using import include int std cout string String "
        "static void begin System out new public class range auto"
    )
)
HEADERS = {
    "python": "import math\n",
    "cpp": "#include <vector>\n",
    "julia": "using Printf\n",
    "java": "import java.util;\n",
}
_LEX = re.compile(
    r'("[^"\n]*"?)|(#(?!include)[^\n]*|//[^\n]*)|([A-Za-z]+)|(\d+)|([()\[\]{}])|([-+*/%<>=!]+)|(\n +)|(\s)|(.)'
)


def _label(text: str, language: str) -> tuple[Mark, ...]:
    """Say what every part of a program is."""
    marks: list[Mark] = []
    block = False
    for match in _LEX.finditer(text):
        string, comment, word, number, bracket, operator, indent, space, _ = match.groups()
        if indent or space:
            block = bool(indent) or (block and space != "\n")
            continue
        kind = (
            "string"
            if string
            else "comment"
            if comment
            else "number"
            if number
            else "operator"
            if operator
            else ("open_bracket" if bracket in "([{" else "close_bracket")
            if bracket
            else ("keyword" if word in KEYWORDS else "identifier")
            if word
            else ""
        )
        concepts = frozenset(filter(None, (language, kind, "block" if block else "")))
        # Strings and comments are marked word by word, so that no mark holds a space.
        for part in re.finditer(r"\S+", match.group()):
            marks.append((match.start() + part.start(), match.start() + part.end(), concepts))
    return tuple(marks)


def assign(language: str, name: str, value: str) -> str:
    """Write the first assignment of a number.

    Returns:
        str: one line of a program.
    """
    return {"cpp": f"int {name} = {value};\n", "java": f"int {name} = {value};\n"}.get(language, f"{name} = {value}\n")


def show(language: str, value: str) -> str:
    """Write that a value is printed."""
    return {
        "python": f"print({value})",
        "cpp": f"std::cout << {value};",
        "julia": f"println({value})",
        "java": f"System.out.println({value});",
    }[language]


def _call(language: str, rng: Random) -> str:
    f, (x, y) = rng.choice(FUNCTIONS), rng.sample(VARIABLES, 2)
    sign = rng.choice("+-*")
    return {
        "python": f"def {f}({x}, {y}):\n    return {x} {sign} {y}\n",
        "cpp": f"int {f}(int {x}, int {y}) {{\n    return {x} {sign} {y};\n}}\n",
        "julia": f"function {f}({x}, {y})\n    return {x} {sign} {y}\nend\n",
        "java": f"static int {f}(int {x}, int {y}) {{\n    return {x} {sign} {y};\n}}\n",
    }[language]


def _branch(language: str, rng: Random, word: str) -> str:
    x, n = rng.choice(VARIABLES), rng.randrange(2, 10)
    condition, body = f"{x} {rng.choice('<>')} {n}", show(language, x)
    return {
        "python": f"{word} {condition}:\n    {body}\n",
        "julia": f"{word} {condition}\n    {body}\nend\n",
    }.get(language, f"{word} ({condition}) {{\n    {body}\n}}\n")


def _loop(language: str, rng: Random) -> str:
    x, n = rng.choice(VARIABLES), rng.randrange(2, 10)
    body = show(language, x)
    return {
        "python": f"for {x} in range({n}):\n    {body}\n",
        "julia": f"for {x} in 1:{n}\n    {body}\nend\n",
    }.get(language, f"for (int {x} = 0; {x} < {n}; {x}++) {{\n    {body}\n}}\n")


def _list(language: str, rng: Random) -> str:
    name, inside = rng.choice(LISTS), ", ".join(str(rng.randrange(10)) for _ in range(3))
    return {
        "cpp": f"std::vector<int> {name} = {{{inside}}};\n",
        "java": f"int[] {name} = {{{inside}}};\n",
    }.get(language, f"{name} = [{inside}]\n")


def _text(language: str, rng: Random) -> str:
    name, word = rng.choice(VARIABLES), rng.choice(words.nouns(rng.choice(("animal", "food")))).word
    start = {"cpp": "std::string ", "java": "String "}.get(language, "")
    return f'{start}{name} = "{word}"{";" if language in ("cpp", "java") else ""}\n'


def _line(
    language: str,
    text: str,
    *,
    task: str = "",
    template: str = "",
    filler: tuple[str, ...] = (),
    cut: int = 0,
    answer: str = "",
    wrong: str = "",
    corrupted: str = "",
) -> Line:
    return Line(
        text,
        _label(text, language),
        task,
        template,
        filler,
        cut,
        answer,
        wrong,
        corrupted,
        frozenset({answer}),
        frozenset({wrong}),
    )


def program(rng: Random, language: str) -> Line:
    """Write a program of two or three parts."""
    parts = []
    kinds = rng.sample(("call", "if", "while", "loop", "list", "text", "assign"), rng.choice((1, 2, 2)))
    for kind in kinds:
        if kind == "call":
            parts.append(_call(language, rng))
        elif kind in ("if", "while"):
            parts.append(_branch(language, rng, kind))
        elif kind == "assign":
            name, value = rng.choice(VARIABLES), str(rng.randrange(100))
            comment = f"{'//' if language in ('cpp', 'java') else '#'} {value}"
            parts.append(assign(language, name, value) + show(language, name) + f" {comment}\n")
        else:
            parts.append({"loop": _loop, "list": _list, "text": _text}[kind](language, rng))
    text = (HEADERS[language] if rng.random() < 0.5 else "") + "".join(parts)
    return _line(language, text, task="program", template=language, filler=(text,))


def close_program(rng: Random, language: str) -> Line:
    """Continue a program where only one sign or keyword can come: brackets, the colon, the semicolon, ``end``."""
    x, y, f = *rng.sample(VARIABLES, 2), rng.choice(FUNCTIONS)
    name, n = rng.choice(LISTS), str(rng.randrange(10))
    start = assign(language, y, str(rng.randrange(10)))
    semicolon = ";" if language in ("cpp", "java") else ""
    kind = rng.choice(("bracket", "bracket_late", "end"))
    if kind != "end":
        declared = "int " if semicolon else ""
        inside = n if kind == "bracket" else f"{y} + {n}"
        # The same word may stand for a list or a function: only the bracket says which.
        ends = ("]", ")") if rng.random() < 0.5 else (")", "]")
        opens = {"]": "[", ")": "("}
        if rng.random() < 0.5:
            name = f
        prompt, corrupted = (f"{start}{declared}{x} = {name}{opens[end]}{inside}" for end in ends)
        text = f"{prompt}{ends[0]}{semicolon}\n"
        filler = (name, ends[0], n)
        return _line(
            language,
            text,
            task=language,
            template=kind,
            filler=filler,
            cut=len(prompt),
            answer=ends[0],
            wrong=ends[1],
            corrupted=corrupted,
        )
    flip = rng.random() < 0.5
    if language == "python":
        head = f"def {f}({x}):\n"
        first, second = (f"{head}    if {x}", f":\n        print({y})\n"), (f"{head}    return {x}", "\n")
        answers = (":", "\n")
    elif language == "julia":
        first = (f"{start}{x} = begin\n    {n}\n", "end\n")
        second = (f"{start}{x} = [\n    {n}\n", "]\n")
        answers = ("end", "]")
    else:
        printed = show(language, y) + "\n"
        first = (f"{start}{printed}{x} = {y}", ";\n")
        second = (f"{start}{printed}{f}({y}", ");\n")
        answers = (";", ")")
    if flip:
        first, second, answers = second, first, answers[::-1]
    return _line(
        language,
        first[0] + first[1],
        task=language,
        template=kind,
        filler=(x, f, answers[0]),
        cut=len(first[0]),
        answer=answers[0],
        wrong=answers[1],
        corrupted=second[0],
    )


def _closer(language: str) -> Callable[[Random], Line]:
    return lambda rng: close_program(rng, language)


CODE_TASKS = {language: _closer(language) for language in PROGRAMMING}
CHANCE_CODE = dict.fromkeys(PROGRAMMING, 1 / 2)
