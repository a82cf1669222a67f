"""What a test run did not test for want of a browser."""

from collections.abc import Iterable

BROWSER = "/usr/bin/chromium"
COMMAND = "apt-get install chromium"
NO_BROWSER = f"needs the browser {BROWSER}: {COMMAND}"
NO_DRIVER = "needs the package playwright, of the dev group"


def say_untested(reasons: Iterable[str]) -> str:
    """Return a line for the reasons of skipping: how many tests want a browser, and what brings it; or nothing."""
    found = [reason for reason in reasons if NO_BROWSER in reason or NO_DRIVER in reason]
    if not found:
        return ""
    command = COMMAND if any(NO_BROWSER in reason for reason in found) else "pip install -c constraints.txt playwright"
    return f"NOT TESTED: the pages in a browser ({len(found)} tests). To test them: {command}, then the same again."
