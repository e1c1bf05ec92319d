#!/usr/bin/env bash
# Makes docs/flame.png: pprof's flame graph of what retains the memory of leakcheck/cmd/leakcheck/testdata/shop.
# Needs Go and Chromium. Usage: docs/flame.sh [file.png [profile.pb.gz]], where the profile is another one.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(realpath "${1:-docs/flame.png}")
dir=$(mktemp -d)
server=
finish() {
	[ -z "$server" ] || { kill "$server" && wait "$server"; } 2>/dev/null || true
	rm -rf "$dir"
}
trap finish EXIT

if [ $# -gt 1 ]; then
	cp "$2" "$dir/retained.pb.gz"
else
	go build -o "$dir/shop" ./leakcheck/cmd/leakcheck/testdata/shop
	"$dir/shop" 20000 "$dir/before.dump" "$dir/after.dump"
	go run ./leakcheck/cmd/leakcheck flame -exe "$dir/shop" "$dir/after.dump" "$dir/retained.pb.gz"
fi

pprof=$(go tool -n pprof) # its path: go tool would be a parent that does not pass signals on
port=$((20000 + $$ % 20000))
"$pprof" -no_browser -http "127.0.0.1:$port" "$dir/retained.pb.gz" 2>"$dir/log" &
server=$!
for _ in $(seq 100); do
	if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then break; fi
	sleep 0.1
done
# Two pixels for each of CSS, and a window so narrow that text is legible on a page of 390 px.
chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
	--disable-component-update --disable-sync --hide-scrollbars --user-data-dir="$dir/chromium" --window-size=500,250 \
	--force-device-scale-factor=2 --virtual-time-budget=3000 --screenshot="$out" "http://127.0.0.1:$port/ui/flamegraph" \
	2>>"$dir/log" || { cat "$dir/log"; exit 1; }
echo "$out"
