"""Searches with atheris for input that breaks a target, and keeps what it learnt in the stored corpus.

python -m tests.fuzz TARGET --seconds N     search, then minimise the corpus
python -m tests.fuzz TARGET --seconds 0     only minimise it
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.minimise import MOST_ENTRY_BYTES, chosen, store
from tests.fuzz.targets import CORPUS, NAMES, check_of, is_seed, stored

UNIT_SECONDS = 5  # an input that takes longer is a finding: some expression tries all ways to read it
# Each line of a dictionary is a word of libFuzzer's own syntax.
WORDS = Path(__file__).parent / "words"


def main() -> int:
    """Run the command. Returns its exit status: 1 where something broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=NAMES)
    parser.add_argument("--seconds", type=int, default=60, help="how long to search (default %(default)s)")
    arguments = parser.parse_args()
    logging.getLogger("httpserve").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="fuzz-corpus-") as found:
        if arguments.seconds and not searched(arguments.target, Path(found), arguments.seconds):
            return 1
        inputs = [path.read_bytes() for path in [*stored(arguments.target), *Path(found).iterdir()]]
    seeds = [path.read_bytes() for path in stored(arguments.target) if is_seed(path)]
    with check_of(arguments.target) as check:
        entries = chosen(check, seeds, inputs)
    store(arguments.target, entries)
    print(f"{arguments.target}: {len(seeds)} seeds, {len(entries)} of {len(inputs)} others kept")
    return 0


def searched(name: str, found: Path, seconds: int) -> bool:
    """Search for a while, into the directory `found`. Tells whether nothing broke."""
    broken = Path(tempfile.mkdtemp(prefix=f"fuzz-broken-{name}-"))
    command = [
        *(sys.executable, "-m", "tests.fuzz.drive", name, str(found), str(CORPUS / name)),
        *(f"-max_total_time={seconds}", f"-max_len={MOST_ENTRY_BYTES}", f"-timeout={UNIT_SECONDS}"),
        *(f"-dict={WORDS / name}", f"-artifact_prefix={broken}/", "-use_value_profile=1", "-print_final_stats=1"),
    ]
    if subprocess.run(command, check=False).returncode == 0:
        broken.rmdir()
        return True
    print(f"broken by the input in {broken}; once that is mended, it belongs into {CORPUS / name}", file=sys.stderr)
    return False


if __name__ == "__main__":
    sys.exit(main())
