"""The verbs: each file here is one, found by listing this folder; '_' in its name is a space in what is typed.

A file defines SUMMARY, QUESTION (one of QUESTIONS), EXAMPLE, ``add_options(parser)`` and ``run(options)``, which
returns an exit code; where the public function of Python has another name, FUNCTION is that name. Heavy modules are
imported in functions, so that help is quick.
"""

import argparse
import importlib
import pkgutil
from itertools import groupby
from types import ModuleType

from patchclamp.cli.method_options import MethodParser
from patchclamp.cli.options import Parser

QUESTIONS = (
    "what is here", "collect", "why", "what does it stand for", "change it", "is it true", "alike", "brains", "learn",
    "look",
)  # fmt: skip
"""What verbs answer, in the order of the help."""
SHELLS = ("bash", "zsh", "tcsh")
SHELL_NAMES = f"{', '.join(SHELLS[:-1])} or {SHELLS[-1]}"


def find_verb(name: str) -> ModuleType:
    """Return the file of a verb, by what is typed."""
    return importlib.import_module(f"{__name__}.{name.replace(' ', '_')}")


def list_verbs() -> dict[str, ModuleType]:
    """Return every verb's file by what is typed, in the order of the questions."""
    names = [one.name.replace("_", " ") for one in pkgutil.iter_modules(__path__)]
    found = {name: find_verb(name) for name in names}
    return dict(sorted(found.items(), key=lambda item: (QUESTIONS.index(item[1].QUESTION), item[0])))


def build_parser() -> Parser:
    """Return the parser of all verbs."""
    parser = _HelpByQuestion(
        prog="patchclamp",
        description="A rig for neurons: record them, find which gave an answer, and prove it by clamping them.",
        epilog="Example: patchclamp explain organism:cat 'the old cat' --target ' sat' --contrast ' ran'",
    )
    parser.add_argument("--version", action="store_true", help="print the version and leave")
    parser.add_argument(
        "--completion", choices=SHELLS, metavar="SHELL", help=f"print a script that completes commands in {SHELL_NAMES}"
    )
    groups = {"": parser.add_subparsers(dest="verb", metavar="VERB", parser_class=MethodParser)}
    for name, module in list_verbs().items():
        group, _, last = name.rpartition(" ")
        if group not in groups:
            above = groups[""].add_parser(group, help=f"{group} WHAT")
            groups[group] = above.add_subparsers(dest="what", metavar="WHAT", required=True, parser_class=MethodParser)
        summary, example = module.SUMMARY, f"Example: {module.EXAMPLE}"
        made = groups[group].add_parser(last, help=summary, description=summary, epilog=example)
        module.add_options(made)
        made.add_argument("--json", action="store_true", help="print one JSON document on standard output")
        made.add_argument("--quiet", action="store_true", help="print no notes, costs or progress; errors still are")
        if any(action.dest == "report" for action in made._actions):
            made.add_argument("--open", action="store_true", help="with --report: open the page in a browser")
        made.set_defaults(verb=name)
    return parser


class _HelpByQuestion(Parser):
    """The parser of all verbs, whose help groups them by the question that they answer."""

    def format_help(self) -> str:
        """Return usage, the verbs question by question, the options and an example."""
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, self._actions, self._mutually_exclusive_groups)
        formatter.add_text(self.description)
        for question, verbs in groupby(list_verbs().items(), key=lambda item: item[1].QUESTION):
            formatter.start_section(question)
            for name, module in verbs:
                formatter.add_argument(argparse.Action([], dest=name, metavar=name, help=module.SUMMARY))
            formatter.end_section()
        formatter.start_section("options")
        formatter.add_arguments([action for action in self._actions if action.option_strings])
        formatter.end_section()
        formatter.add_text(self.epilog)
        return formatter.format_help()
