"""Write the stored calibration: ``python -m patchclamp.calibrate TESTS``, which ``make calibrate`` runs."""

import sys
import time
from pathlib import Path

from patchclamp.calibrate.runner import calibrate_cards, write_calibration
from patchclamp.core.disk import write_file
from patchclamp.core.method_files import load_all
from patchclamp.core.tier import FILE, derive_tier, read_calibration


def main(words: list[str]) -> int:
    """Run every card, and return 1 where one of them is experimental."""
    tests = Path(words[0] if words else "tests").resolve()
    sys.path.insert(0, str(tests))
    cards = sorted(load_all(), key=lambda card: (card.room, card.name))
    before = sum(row["seconds"] for entry in read_calibration().values() for row in entry["rows"])
    cost = f"about {before:.0f} s the last time" if before else "no time is known yet"
    print(f"{len(cards)} cards on all organisms that they name; {cost}", flush=True)
    begun = time.monotonic()
    found = calibrate_cards(cards, tests, report=lambda line: print(line, flush=True))
    write_file(FILE, write_calibration(found).encode())
    tiers = {name: derive_tier(entry) for name, entry in found["methods"].items()}
    for name, tier in tiers.items():
        print(f"{name}: {tier.name}: {tier.reason}")
    print(f"{FILE.name} written in {time.monotonic() - begun:.0f} s")
    return 1 if any(tier.experimental for tier in tiers.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
