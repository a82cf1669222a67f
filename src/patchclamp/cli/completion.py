"""Scripts with which a shell completes verbs and options."""

from patchclamp.cli.verbs import build_parser
from patchclamp.core.errors import PatchclampError


def print_completion(shell: str) -> None:
    """Print the script that a shell reads.

    Args:
        shell: bash, zsh or tcsh.

    Raises:
        PatchclampError: the extra ``completion`` is not installed.
    """
    try:
        import shtab
    except ImportError as problem:
        raise PatchclampError(
            expected="the package shtab", got="none", remedy="pip install 'patchclamp[completion]'"
        ) from problem
    print(shtab.complete(build_parser(), shell))
