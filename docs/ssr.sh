#!/usr/bin/env bash
# Makes docs/ssr.png: the page with the graphs that examples/ssr writes, and prints what the command
# printed, for README.md and docs/climbing-graph.md. Needs Go and Chromium.
# Usage: docs/ssr.sh [file.png [width [scale]]]
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(realpath "${1:-docs/ssr.png}")
width=${2:-480} # GitHub shows a page at 390 px, and text in a picture must be legible there
scale=${3:-2}  # pixels of the picture for each
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
go run ./examples/ssr -o "$dir/graph.html"

# browser HEIGHT ARGUMENTS... runs Chromium without a window.
browser() {
	local height=$1
	shift
	chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
		--disable-component-update --disable-sync --hide-scrollbars --user-data-dir="$dir/chromium" \
		--window-size="$width,$height" "$@" 2>"$dir/log" || { cat "$dir/log"; exit 1; }
}

# The page says how high it is, so that the picture holds all of it.
cp "$dir/graph.html" "$dir/measure.html"
echo '<script>onload = () => document.title = "height " + document.documentElement.scrollHeight</script>' >>"$dir/measure.html"
height=$(browser 800 --dump-dom "file://$dir/measure.html" | sed -n 's/.*<title>height \([0-9]*\).*/\1/p')
[ -n "$height" ] || { echo "the page's height is not known"; exit 1; }
browser "$height" --force-device-scale-factor="$scale" --screenshot="$out" "file://$dir/graph.html"
echo "$out"
