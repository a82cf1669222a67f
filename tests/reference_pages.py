"""The pages of docs/reference that are made from the package: its command line and its public names."""

import argparse
import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import patchclamp
from patchclamp.cli import build_parser

HEAD = "<!-- generated: PATCHCLAMP_REWRITE=1 pytest tests/meta/test_reference.py -->"


def walk_parsers(parser: argparse.ArgumentParser, command: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield the typed command and the parser of everything below a parser, itself first."""
    yield command, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                yield from walk_parsers(child, f"{command} {name}".strip())


def write_command_line() -> str:
    """Return the page of the command line: every command with its arguments, as ``--help`` has them."""
    lines = [
        "# The command line, option by option",
        "",
        HEAD,
        "",
        "What `--help` says, in one page. [The guide](cli_guide.md) says what the commands do; the options of methods",
        "stand on [their pages](../methods).",
    ]
    for command, parser in walk_parsers(build_parser()):
        groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        if not command or groups:
            continue
        places = [action for action in parser._actions if not action.option_strings]
        typed = " ".join(["patchclamp", command, *(_place(action) for action in places)])
        lines += ["", f"## {typed}", "", _plain(parser.description or "")]
        if parser.epilog and parser.epilog.startswith("Example: "):
            lines += ["", "```sh", parser.epilog.removeprefix("Example: "), "```"]
        options = [action for action in parser._actions if action.dest != "help" and action.help]
        lines += [
            "",
            "| argument | meaning |",
            "|---|---|",
            *(f"| `{_flag(one)}` | {_help(parser, one)} |" for one in options),
        ]
    return "\n".join(lines) + "\n"


def write_python() -> str:
    """Return the page of Python: every public name of the package and of each room, with the first line about it."""
    lines = [
        "# Python, name by name",
        "",
        HEAD,
        "",
        "`import patchclamp as pc`. `help(pc.NAME)` says the rest: arguments, errors, source, cost and an example.",
        "[The guide](python_guide.md) shows them at work.",
    ]
    for title, module, names in list_modules():
        rows = [f"| `{_signature(name, getattr(module, name))}` | {_first(getattr(module, name))} |" for name in names]
        lines += ["", f"## {title}", "", "| name | what it is |", "|---|---|", *rows]
    return "\n".join(lines) + "\n"


def list_modules() -> list[tuple[str, object, list[str]]]:
    """Return the package and each of its rooms and floors with their public names, those that stand above left out."""
    own = [name for name in patchclamp.__all__ if not name.startswith("__")]
    found: list[tuple[str, object, list[str]]] = [("patchclamp", patchclamp, own)]
    for one in pkgutil.iter_modules(patchclamp.__path__):
        if not one.ispkg or one.name in ("cli", "core", "subjects"):
            continue  # no interface of their own: what people need of them has a name in the package
        module = importlib.import_module(f"patchclamp.{one.name}")
        public = [name for name in getattr(module, "__all__", ()) if not inspect.ismodule(getattr(module, name))]
        known = [getattr(patchclamp, name) for name in own]
        names = [name for name in public if not any(getattr(module, name) is other for other in known)]
        if names:
            found.append((f"patchclamp.{one.name}", module, sorted(names)))
    return found


def _place(action: argparse.Action) -> str:
    name = str(action.metavar or action.dest).upper()
    return f"[{name}]" if action.nargs in ("?", "*") else name


def _flag(action: argparse.Action) -> str:
    if not action.option_strings:
        return _place(action)
    takes = "" if action.nargs == 0 else f" {_choices(action)}"
    return f"{', '.join(action.option_strings)}{takes}".replace("|", "\\|")


def _choices(action: argparse.Action) -> str:
    if action.metavar:
        return str(action.metavar)
    return ",".join(map(str, action.choices)) if action.choices else action.dest.upper()


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    return _plain(parser._get_formatter()._expand_help(action))


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _signature(name: str, value: object) -> str:
    """Return a function's name with those of its parameters, any other name alone."""
    if not inspect.isroutine(value):
        return name
    words: list[str] = []
    for one in inspect.signature(value).parameters.values():
        if one.kind is one.KEYWORD_ONLY and not any(word.startswith("*") for word in words):
            words.append("*")
        words.append({one.VAR_POSITIONAL: "*", one.VAR_KEYWORD: "**"}.get(one.kind, "") + one.name)
    return f"{name}({', '.join(words)})"


def _first(value: object) -> str:
    """Return the first paragraph about a class, function or module; of a constant its value."""
    if inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value):
        return _plain((inspect.getdoc(value) or "").partition("\n\n")[0])
    return f"the constant `{repr(value).replace('|', 'or')}`"
