#!/usr/bin/env sh
# Tests on a real Slurm, which runs on this machine for as long as they do (cluster.py). Where none can be started, it says
# so and ends well. With --install, root on Debian gets the packages first.
set -eu
cd "$(dirname "$0")/../.."
if [ "${1:-}" = --install ] && [ "$(id -u)" = 0 ] && ! command -v slurmctld >/dev/null && command -v apt-get >/dev/null; then
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends munge slurm-wlm; } \
        >/dev/null 2>&1 || echo "tests/slurm: apt-get could not install munge and slurm-wlm"
fi
if ! why=$(python tests/slurm/cluster.py --check); then
    echo "tests/slurm: not run: $why"
    exit 0
fi
exec python -m pytest tests/slurm
