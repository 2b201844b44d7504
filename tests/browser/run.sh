#!/bin/sh
# Test pages in a headless Chromium, and the RO-Crates beside them: run.sh [page.html ...]. Three pages with planted
# contents, of few and of many methods and with gaps, are always tested too.
# Needs Chromium (or its path in CHROMIUM), npm, and the project's Python in PATH.
set -eu
pages=$(for page in "$@"; do readlink -f "$page"; done)
cd "$(dirname "$0")"
CHROMIUM=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}
[ -n "$CHROMIUM" ] || { echo "Error: no Chromium found; install one or set CHROMIUM=/path/to/it" >&2; exit 1; }

[ -x .venv/bin/python ] || python -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
npm ci --silent --no-fund --no-audit

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/planted" "$folder/many" "$folder/gaps"
PYTHONPATH=../../scripts python ../helpers/planted_page.py "$folder/planted"
PYTHONPATH=../../scripts python ../helpers/planted_page.py "$folder/many" many
PYTHONPATH=../../scripts python ../helpers/planted_page.py "$folder/gaps" many gaps
export CHROMIUM PAGES="$folder/planted/page.html $folder/many/page.html $folder/gaps/page.html $pages" AXE=node_modules/axe-core/axe.min.js
.venv/bin/python -m pytest -q -p no:cacheprovider page_in_chromium.py

# The RO-Crate beside a page; the validator fetches the crate's JSON-LD contexts.
for page in $pages; do
    .venv/bin/rocrate-validator validate --profile-identifier workflow-run-crate "$(dirname "$page")"
done
