#!/usr/bin/env bash
# Runs the leak tests of a module, and writes what they found to $LEAKSAFE_DIR/summary.md and to the
# job's summary. The reports with their graphs go to $LEAKSAFE_DIR, too. Known leaks of an old code
# base stand in leaks.txt, if there is one;
#   LEAKSAFE_BASELINE=leaks.txt LEAKSAFE_BASELINE_UPDATE=1 go test ./...
# writes it. The exit code is the one of go test.
# shellcheck disable=SC2016 # the backquotes are Markdown's
set -uo pipefail

: "${LEAKSAFE_DIR:?a folder for the reports}" "${PACKAGES:=./...}" "${FLAME:=false}"
mkdir -p "$LEAKSAFE_DIR" || exit
LEAKSAFE_DIR=$(cd "$LEAKSAFE_DIR" && pwd)
export LEAKSAFE_DIR
[ -f leaks.txt ] && export LEAKSAFE_BASELINE="$PWD/leaks.txt"
[ "$FLAME" = true ] && export LEAKSAFE_DUMP=1

log=$(mktemp)
summary=$LEAKSAFE_DIR/summary.md
trap 'rm -f "$log"; find "$LEAKSAFE_DIR" -name "*.dump" -delete' EXIT
# shellcheck disable=SC2086 # several packages
go test $PACKAGES 2>&1 | tee "$log"
code=${PIPESTATUS[0]}

# failures prints the leaks of the log. Each begins at "leakcheck: … leak:" and goes on while lines
# are indented further.
failures() {
	awk '
		function depth(s) { match(s, /^[ \t]*/); return RLENGTH }
		/leakcheck: (memory|goroutine|file) leak: / { print (n++ ? "\n" : "") $0; at = depth($0); on = 1; next }
		on && depth($0) > at && NF { print; next }
		{ on = 0 }
	' "$log"
}

# A run that passes has no leak: it may log leaks that it expects.
found=
[ "$code" -eq 0 ] || found=$(failures)

{
	if [ -n "$found" ]; then
		printf '## Leaks\n\n```\n%s\n```\n' "$found"
	elif [ "$code" -eq 0 ]; then
		printf '## No leak\n\nThe leak tests of %s packages passed.\n' "$(grep -c '^ok' "$log")"
	else
		printf '## Tests failed\n\nNo leak was found; see the log.\n'
	fi
	while IFS= read -r -d '' dump; do
		flame=${dump%.dump}.pb.gz
		if go run github.com/leaksafe/leaksafe/leakcheck/cmd/leakcheck flame "$dump" "$flame"; then
			printf '\nWhat retains the memory: `go tool pprof -http=: %s`, from the artefact.\n' "$(basename "$flame")"
		fi
	done < <(find "$LEAKSAFE_DIR" -name '*.dump' -print0)
} >"$summary"
cat "$summary" >>"${GITHUB_STEP_SUMMARY:-/dev/stdout}"

# files prints the files of one name in $LEAKSAFE_DIR, one a line.
files() { find "$LEAKSAFE_DIR" -name "$1" | sort; }

if [ -n "${GITHUB_OUTPUT:-}" ]; then
	{
		if [ -n "$found" ]; then echo leak=true; else echo leak=false; fi
		echo "summary=$summary"
		printf 'pages<<end of pages\n%s\nend of pages\n' "$(files growth.html)"
		printf 'flames<<end of flames\n%s\nend of flames\n' "$(files '*.pb.gz')"
	} >>"$GITHUB_OUTPUT"
fi
exit "$code"
