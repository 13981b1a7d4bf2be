#!/usr/bin/env bash
# Make the virtual environment and install the package into it: scripts/setup.sh [gui|dev]
# Does nothing, and needs no network, when that was done before for the same requirements.
# VENV names the environment (default .venv), PYTHON the interpreter to make it with.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
extra=${1:-dev}
venv=${VENV:-.venv}
python=$venv/bin/python

fits() { # is this an interpreter that we support, and can it make environments?
    "$@" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
        >/dev/null 2>&1
}

choose_python() {
    local candidate
    # 3.11 first: the pins in constraints.txt were tested with it.
    for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3.12 python3.13 python3 python; do
        if fits "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    cat >&2 <<'MESSAGE'
No usable Python found: napari-stomics needs Python 3.11, 3.12 or 3.13 with its venv module.
  Debian, Ubuntu:  sudo apt-get install python3 python3-venv
  Fedora:          sudo dnf install python3.12
  macOS:           brew install python@3.12
Or name one yourself:  make PYTHON=/path/to/python3.12 ...
MESSAGE
    return 1
}

# What an installation depends on. The tools' own settings in pyproject.toml are left out,
# so that changing a lint rule asks for no new installation; the place is in, because an
# editable installation remembers it.
fingerprint() {
    "$python" - <<'CODE'
import hashlib, json, pathlib, sys, tomllib
project = tomllib.loads(pathlib.Path("pyproject.toml").read_text(encoding="utf-8"))
parts = [project["build-system"], project["project"], project["tool"]["hatch"], sys.version]
parts += [str(pathlib.Path.cwd()), pathlib.Path("constraints.txt").read_text(encoding="utf-8")]
print(hashlib.sha256(json.dumps(parts).encode()).hexdigest())
CODE
}

if ! fits "$python"; then
    chosen=$(choose_python)
    echo "Making $venv with $("$chosen" --version)"
    "$chosen" -m venv --clear "$venv"
fi

now=$(fingerprint)
for done_before in "$extra" dev; do # dev holds all that gui does
    [ "$(cat "$venv/.stamp-$done_before" 2>/dev/null || true)" = "$now" ] && exit 0
done

echo "Installing napari-stomics[$extra] into $venv (once; some minutes)"
export PIP_DISABLE_PIP_VERSION_CHECK=1
# torch first and by its exact version: left to the resolver, a build for another device may win.
# TORCH_PIP_ARGS can name an index, for instance
# --extra-index-url https://download.pytorch.org/whl/cpu for the small build on Linux.
# shellcheck disable=SC2086
"$python" -m pip install -q -c constraints.txt ${TORCH_PIP_ARGS:-} "torch==2.13.0"
"$python" -m pip install -q -c constraints.txt -e ".[$extra]"
echo "$now" >"$venv/.stamp-$extra"
