#!/usr/bin/env bash
# See to it that a Linux machine can show napari on a virtual display.
# Exit status: 0 a virtual display can be started, 3 it cannot (the message says what to do).
# INSTALL_SYSTEM=0 forbids installing system packages.
set -uo pipefail

case "$(uname -s)" in
Linux) ;;
*) exit 0 ;; # macOS and Windows have a display and bring the libraries themselves
esac

# Libraries that PyQt6's xcb platform plugin and OpenGL load, by the names the loader knows.
libraries="libGL.so.1 libEGL.so.1 libGLX_mesa.so.0 libxkbcommon-x11.so.0 libxcb-cursor.so.0
    libxcb-icccm.so.4 libxcb-image.so.0 libxcb-keysyms.so.1 libxcb-randr.so.0
    libxcb-render-util.so.0 libxcb-shape.so.0 libxcb-sync.so.1 libxcb-util.so.1 libxcb-xkb.so.1
    libxcb-xfixes.so.0 libfontconfig.so.1 libdbus-1.so.3 libglib-2.0.so.0"
debian="xvfb libgl1 libegl1 libgl1-mesa-dri libglx-mesa0 libxkbcommon-x11-0 libxcb-cursor0
    libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0
    libxcb-sync1 libxcb-util1 libxcb-xkb1 libxcb-xfixes0 libfontconfig1 libdbus-1-3
    libglib2.0-0 fonts-dejavu-core"
fedora="xorg-x11-server-Xvfb mesa-libGL mesa-libEGL mesa-dri-drivers libxkbcommon-x11
    xcb-util-cursor xcb-util-wm xcb-util-image xcb-util-keysyms xcb-util-renderutil xcb-util
    libxcb fontconfig dbus-libs glib2 dejavu-sans-fonts"

missing() {
    local known name
    known=$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null)
    for name in $libraries; do
        [[ $known == *"$name "* ]] || printf '%s ' "$name"
    done
    command -v Xvfb >/dev/null || printf 'Xvfb '
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

explain() {
    local command="your package manager: Xvfb, Mesa's software OpenGL and the xcb libraries of Qt 6"
    command -v dnf >/dev/null && command="sudo dnf install "$(echo $fedora)
    command -v apt-get >/dev/null && command="sudo apt-get install "$(echo $debian)
    {
        echo "No virtual display: missing $lacking"
        echo "$1. Install them with"
        echo "  $command"
    } >&2
    exit 3
}

lacking=$(missing)
[ -z "$lacking" ] && exit 0
[ "${INSTALL_SYSTEM:-1}" = 0 ] && explain "INSTALL_SYSTEM=0 forbids installing them"
[ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null || explain "Installing them needs root or sudo without a password"

echo "Installing system packages for a virtual display (missing: $lacking)"
if command -v apt-get >/dev/null; then
    # An index that is out of date or partly out of reach may still hold all that is needed.
    as_root apt-get update -qq || true
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends $debian >/dev/null || true
elif command -v dnf >/dev/null; then
    # shellcheck disable=SC2086
    as_root dnf install -y -q $fedora || true
else
    explain "This script knows apt and dnf only"
fi

lacking=$(missing)
[ -z "$lacking" ] || explain "Installing them failed (see above)"
