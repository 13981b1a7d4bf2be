#!/usr/bin/env bash
# Run a command on the real display, or on a virtual one: scripts/with-display.sh command ...
# A virtual display is taken when HEADLESS=1 or, on Linux, when there is no other; the command
# then finds HEADLESS=1 in its environment. Where none can be started, the command runs with
# HEADLESS=1 and without a display.
set -uo pipefail

[ "$(uname -s)" = Linux ] || exec "$@"
if [ "${HEADLESS:-0}" != 1 ] && [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]; then
    exec "$@"
fi

export HEADLESS=1
unset DISPLAY WAYLAND_DISPLAY
if ! command -v Xvfb >/dev/null; then
    echo "No display and no Xvfb (scripts/install-display.sh installs it): going on without." >&2
    exec "$@"
fi

number=$(mktemp)
# -displayfd lets the server choose a free number and say which: no race with other servers.
Xvfb -displayfd 3 -screen 0 1400x1000x24 -nolisten tcp 3>"$number" >/dev/null 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null; rm -f "$number"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
for _ in $(seq 100); do
    [ -s "$number" ] && break
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
done
if [ -s "$number" ]; then
    DISPLAY=:$(tr -d '[:space:]' <"$number")
    export DISPLAY
    export QT_QPA_PLATFORM=xcb
else
    echo "Xvfb did not start: going on without a display." >&2
fi
"$@" &
# Waiting in the background lets a signal to this script end the command too.
command=$!
trap 'kill "$command" 2>/dev/null; exit 130' INT
trap 'kill "$command" 2>/dev/null; exit 143' TERM
wait "$command"
