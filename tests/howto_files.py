"""The files that the how-tos show whole."""

import re
from pathlib import Path

HOWTO = Path(__file__).resolve().parents[1] / "docs" / "howto"
BLOCK = re.compile(r"<!-- (file|same): (\S+) -->\n(?:<!-- run -->\n)?```\w+\n(.*?)```\n", flags=re.DOTALL)


def read_files(page: str, kind: str = "file") -> dict[str, str]:
    """Return the files of a page by path: ``file`` those that its example adds, ``same`` those of the package."""
    text = (HOWTO / f"{page}.md").read_text(encoding="utf-8")
    return {path: shown for mark, path, shown in BLOCK.findall(text) if mark == kind}
