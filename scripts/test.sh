#!/usr/bin/env bash
# Run the tests, those of the GUI included where a display can be had: scripts/test.sh [pytest options]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${VENV:-.venv}/bin/python

# Several threads on few busy cores are many times slower than one.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
export OPENBLAS_NUM_THREADS=${OPENBLAS_NUM_THREADS:-1}
export MKL_NUM_THREADS=${MKL_NUM_THREADS:-1}

# A test file stays on one worker, where its tests share what they have made.
workers=(-n "${TEST_WORKERS:-auto}" --maxprocesses=4 --dist=loadfile)

data=${STOMICS_DATA:-../shared/data}
[ -d "$data" ] || echo "No data folder at $data (STOMICS_DATA): tests on real data are skipped."

if bash scripts/install-display.sh; then
    exec "$python" -m pytest "${workers[@]}" "$@" # pytest-xvfb starts the display
fi
echo "Running the tests that need no display; those of the GUI are left out." >&2
# Without its libraries Qt cannot be imported at all, so neither its plugin nor the docks are
# touched; strict-config goes too, for it would refuse the options of the plugins left out.
QT_QPA_PLATFORM=offscreen exec "$python" -m pytest -o addopts="-ra --strict-markers" \
    -p no:pytest-qt -p no:xvfb -m "not gui" --ignore=tests/docks "${workers[@]}" "$@"
