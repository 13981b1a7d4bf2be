"""Make the environments of the peers: ``python -m benchmarks.peers [moscot] [paste2]``."""

import sys

from benchmarks.peers import NAMES, PeerMissing, python_of


def main(names: list[str]) -> int:
    """Make them all; tell which could not be made, and why."""
    failed = 0
    for name in names or NAMES:
        try:
            print(f"{name}: {python_of(name)}")
        except PeerMissing as error:
            failed += 1
            print(error, file=sys.stderr)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
