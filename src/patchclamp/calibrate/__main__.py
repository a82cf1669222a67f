"""Write the stored calibration: ``python -m patchclamp.calibrate TESTS [ROOM/NAME …]``, as ``make calibrate`` does."""

import sys
import time
from pathlib import Path

from patchclamp.calibrate.runner import calibrate_cards, expected_seconds, write_calibration
from patchclamp.core.disk import write_file
from patchclamp.core.errors import PatchclampError
from patchclamp.core.method import Method
from patchclamp.core.method_files import load_all, write_index
from patchclamp.core.method_index import FILE as INDEX
from patchclamp.core.tier import FILE, derive_tier, read_calibration


def main(words: list[str]) -> int:
    """Run the cards that are named, or all, and store what came out; return 1 where one of them is experimental."""
    try:
        tests, chosen = _read(words)
        seconds = sum(map(expected_seconds, chosen))
        _say(f"{len(chosen)} cards on all organisms that they name: about {seconds:.0f} s")
        begun = time.monotonic()
        stored = calibrate_cards(chosen, tests, report=_say)
    except PatchclampError as problem:
        print(problem, file=sys.stderr)
        return 2
    names = [_name(card) for card in load_all() if not card.outside]
    whole = {name: entry for name, entry in {**read_calibration(), **stored}.items() if name in names}
    write_file(FILE, write_calibration(whole).encode())
    tiers = {name: derive_tier(entry) for name, entry in stored.items()}
    for name, tier in tiers.items():
        _say(f"{name}: {tier.name}: {tier.reason}")
    _say(f"{FILE.name} written, after {time.monotonic() - begun:.0f} s")
    return 1 if any(tier.experimental for tier in tiers.values()) else 0


def _read(words: list[str]) -> tuple[Path, list[Method]]:
    """Return the folder of tests, on the path of imports, and the cards that are meant."""
    tests = Path(words[0] if words else "tests").resolve()
    if not (tests / "oracles").is_dir():
        raise PatchclampError(
            expected="the repository's folder of tests, with the oracles",
            got=str(tests),
            remedy="Run `make calibrate` in a checkout.",
        )
    sys.path.insert(0, str(tests))
    # A trial may run the default of a room, which the index names.
    write_file(INDEX, write_index().encode())
    cards = {_name(card): card for card in load_all() if not card.outside}
    unknown = [name for name in words[1:] if name not in cards]
    if unknown:
        raise PatchclampError(
            expected=f"cards among {', '.join(cards)}", got=unknown[0], remedy="Leave them out to run all."
        )
    return tests, [cards[name] for name in sorted(words[1:] or cards)]


def _name(card: Method) -> str:
    return f"{card.room}/{card.name}"


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
