"""The command line: one subcommand per verb."""

from patchclamp.cli.main import main
from patchclamp.cli.parser import build_parser

__all__ = ["build_parser", "main"]
