"""The command line: one subcommand per verb."""

from patchclamp.cli.main import main
from patchclamp.cli.verbs import build_parser

__all__ = ["build_parser", "main"]
