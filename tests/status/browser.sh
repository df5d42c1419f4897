#!/usr/bin/env bash
# Looks at the status page in a real browser: accessibility by axe-core in light and dark, at phone and desktop
# width, with and without script, and whether an old page turns itself into a warning. Leaves screenshots.
# Needs a built `leeward`, node with npm, and chromium (installed with apt-get if it is not there).
# Usage: tests/status/browser.sh [FOLDER FOR SCREENSHOTS]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
leeward=${CARGO_TARGET_DIR:-target}/debug/leeward
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
shots=${1:-$work/shots}
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
if [ -z "$browser" ]; then
    as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo -n)
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -q
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q chromium
    browser=$(command -v chromium)
fi
"$leeward" status-page preview policies/two-region-web.yaml --out "$work/pages"
mkdir -p "$shots"
npm install --silent --no-audit --no-fund --prefix "$work" playwright-core@1 axe-core@4
cp tests/status/browser.mjs "$work/browser.mjs"
node "$work/browser.mjs" "$browser" "$work/pages" "$shots"
