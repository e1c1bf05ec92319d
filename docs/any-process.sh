#!/usr/bin/env bash
# Prints what docs/any-process.md shows, and makes docs/any-process.png: a service that never heard of leakcheck, from its
# process id to the line. Needs Linux, Go and, for the picture, Chromium. Usage: docs/any-process.sh [file.png]
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(realpath "${1:-docs/any-process.png}")
dir=$(mktemp -d)
pid=
finish() {
	[ -z "$pid" ] || { kill "$pid" && wait "$pid"; } 2>/dev/null || true
	rm -rf "$dir"
}
trap finish EXIT

go build -o "$dir/leakcheck" ./leakcheck/cmd/leakcheck
go build -o "$dir/night" ./leakcheck/cmd/leakcheck/testdata/night
touch "$dir/out"
mkfifo "$dir/in"
exec 3<>"$dir/in"
"$dir/night" 10000 <"$dir/in" >"$dir/out" &
pid=$!

# open N waits until the service has served N times.
open() {
	for _ in $(seq 600); do
		[ "$(grep -c open "$dir/out" || true)" -ge "$1" ] && return
		sleep 0.1
	done
	echo "the service does not answer" >&2
	exit 1
}
# run prints a command as the page shows it, and what it says.
run() {
	echo "\$ $*" | sed "s|$pid|4711|g"
	(cd "$dir" && PATH="$dir:$PATH" "$@" 2>&1) | sed "s|$pid|4711|g; s|^$dir/||; s| *$||"
	echo
}

open 1
run leakcheck summary -pid "$pid" -n 6
run leakcheck dump -pid "$pid" before.dump
echo >&3
open 2
run leakcheck dump -pid "$pid" after.dump
run leakcheck compare before.dump after.dump -exe "/proc/$pid/exe" -n 5
run leakcheck why -pid "$pid" -type main.session -n 1
run leakcheck flame after.dump -exe "/proc/$pid/exe" retained.pb.gz
docs/flame.sh "$out" "$dir/retained.pb.gz"
