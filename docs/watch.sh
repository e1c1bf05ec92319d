#!/usr/bin/env bash
# Makes docs/watch.png: the page of a service that leaks, with three runs before it: the last one of examples/watch.
# Needs Go and Chromium. Usage: docs/watch.sh [file.png]
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(realpath "${1:-docs/watch.png}")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
go run ./examples/watch -dir "$dir"
chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
	--disable-component-update --disable-sync --hide-scrollbars --user-data-dir="$dir/chromium" --window-size=1280,1340 \
	--screenshot="$out" "file://$dir/page.html" 2>"$dir/log" || { cat "$dir/log"; exit 1; }
echo "$out"
