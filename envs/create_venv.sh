#!/bin/sh
# Create .venv from the locked requirements, with the first Python >= 3.11 that is found.
set -eu
cd "$(dirname "$0")/.."

for candidate in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11; do
    [ -n "$candidate" ] || continue
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$candidate; break; fi
done
[ -n "${python:-}" ] || { echo "Error: Python 3.11 or newer is needed; install it or set PYTHON=/path/to/python3" >&2; exit 1; }

PYTHONPATH=scripts "$python" -m fmri2img.interpreter "$PWD/.venv/bin/python"

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    # Debian splits these two standard modules off into a package of their own.
    echo "$python lacks the venv module; installing Debian's python3-venv" >&2
    if [ "$(id -u)" = 0 ]; then as_root=; else as_root="sudo -n"; fi
    $as_root apt-get install -y -q python3-venv >&2 || {
        $as_root apt-get update -q >&2 && $as_root apt-get install -y -q python3-venv >&2
    } || { echo "Error: run 'apt-get install python3-venv' as root, then call make again" >&2; exit 1; }
fi

# Also where an earlier call was stopped before pip was there.
.venv/bin/python -m pip --version > /dev/null 2>&1 || "$python" -m venv --clear .venv
echo "Installing the locked requirements into .venv (several GB, once; a few minutes)"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r envs/requirements.lock 2>&1 \
    | { grep -v '^WARNING: Location' || true; }
.venv/bin/python -c 'import snakemake, torch' 2> /dev/null || { # the pipe above hides pip's exit status
    echo "Error: the requirements could not be installed; start again where there is internet and 10 GB of disk" >&2
    exit 1
}
cp envs/requirements.lock .venv/installed.lock
