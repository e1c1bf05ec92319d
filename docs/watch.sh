#!/usr/bin/env bash
# Makes docs/watch.png: the page of a service that leaks, with three runs before it: the last one of examples/watch.
# Needs Go and Chromium. Usage: docs/watch.sh [file.png]
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(realpath "${1:-docs/watch.png}")
width=560 # the text is legible on a page of 390 px
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
go build -o "$dir/example" ./examples/watch # go run would leave out the symbols, and with them the retainers
"$dir/example" -dir "$dir" -pause 3ms

# browser SIZE ARGUMENTS... runs Chromium without a window.
browser() {
	local size=$1
	shift
	chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
		--disable-component-update --disable-sync --hide-scrollbars --user-data-dir="$dir/chromium" --window-size="$size" \
		"$@" 2>"$dir/log" || { cat "$dir/log"; exit 1; }
}

# The page says where the list of files begins: the picture ends there. A window is 90 px higher than its page.
cp "$dir/page.html" "$dir/measure.html"
echo '<script>onload = () => document.title = "height " + Math.floor([...document.querySelectorAll("h2")].at(-1).getBoundingClientRect().top)</script>' >>"$dir/measure.html"
height=$(browser "$width,800" --dump-dom "file://$dir/measure.html" | sed -n 's/.*<title>height \([0-9]*\).*/\1/p')
[ -n "$height" ] || { echo "the page's height is not known"; exit 1; }
browser "$width,$((height + 90))" --force-device-scale-factor=2 --screenshot="$out" "file://$dir/page.html"
echo "$out"
