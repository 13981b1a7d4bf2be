"""Write constraints.txt: the installed versions of everything the package can depend on.

Run it in the environment that the tests have passed in: ``make constraints``.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PROJECT = "napari-stomics"
HEADER = """\
# The tested versions, for: pip install -c constraints.txt -e ".[dev]"
# Written by scripts/constraints.py; change the requirements in pyproject.toml, not this file.
"""


def closure(project: str, extras: frozenset[str]) -> dict[str, str]:
    """Return ``{name: version}`` of all that ``project[extras]`` needs, itself left out."""
    pins: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    queue = [(project, extra) for extra in ("", *sorted(extras))]
    while queue:
        name, extra = queue.pop()
        if (canonicalize_name(name), extra) in seen:
            continue
        seen.add((canonicalize_name(name), extra))
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        if canonicalize_name(name) != canonicalize_name(project):
            # A local part such as +cpu names one build; the pin has to fit every platform's.
            pins[canonicalize_name(name)] = Version(found.version).public
        for line in found.requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                queue += [(requirement.name, e) for e in ("", *sorted(requirement.extras))]
    return pins


def main() -> None:
    pins = closure(PROJECT, frozenset({"dev"}))
    lines = "".join(f"{name}=={version}\n" for name, version in sorted(pins.items()))
    (ROOT / "constraints.txt").write_text(HEADER + lines, encoding="utf-8")
    print(f"constraints.txt: {len(pins)} versions")


if __name__ == "__main__":
    main()
