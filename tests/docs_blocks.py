"""The blocks of a page that are run: Python, and commands of the package."""

import shlex
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from patchclamp.cli import main

RUN = "<!-- run -->"


def runnable_blocks(text: str) -> list[tuple[int, str, str]]:
    """Return (number of lines above, python or sh, code) of each block that asks to be run."""
    lines = text.splitlines()
    blocks = []
    for above, line in enumerate(lines, start=1):
        if line.strip() != RUN:
            continue
        opening = lines[above : above + 1]
        assert opening in (["```python"], ["```sh"]), f"line {above}: {RUN} is not followed by a block of python or sh"
        start = above + 1
        blocks.append((start, opening[0].lstrip("`"), "\n".join(lines[start : lines.index("```", start)])))
    return blocks


def run_page(page: Path) -> None:
    """Run a page's blocks one after another, in the present folder."""
    namespace = {"__name__": "__main__"}
    for above, language, code in runnable_blocks(page.read_text()):
        if language == "sh":
            run_commands(code, f"{page.name}, line {above + 1}")
        else:
            # Blank lines in front make a traceback point at the line of the page.
            exec(compile("\n" * above + code, str(page), "exec"), namespace)


def run_commands(text: str, place: str) -> None:
    """Run the commands of a block in this process; ``> FILE`` at the end of one keeps what it prints."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line)
        assert words[0] == "patchclamp", f"{place}: {line}"
        words, file = (words[1:-2], words[-1]) if words[-2:-1] == [">"] else (words[1:], "")
        with redirect_stdout(StringIO()) as printed:
            assert main(words) == 0, f"{place}: {line}"
        if file:
            Path(file).write_text(printed.getvalue(), encoding="utf-8")
