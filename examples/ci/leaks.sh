#!/usr/bin/env bash
# Runs the leak tests of a module, and writes what they found to the job's summary. The reports with
# their graphs go to $LEAKSAFE_DIR. Known leaks of an old code base stand in leaks.txt, if there is one;
#   LEAKSAFE_BASELINE=leaks.txt LEAKSAFE_BASELINE_UPDATE=1 go test ./...
# writes it.
set -uo pipefail

: "${LEAKSAFE_DIR:?a folder for the reports}" "${PACKAGES:=./...}" "${FLAME:=false}"
export LEAKSAFE_DIR
mkdir -p "$LEAKSAFE_DIR"
[ -f leaks.txt ] && export LEAKSAFE_BASELINE="$PWD/leaks.txt"
[ "$FLAME" = true ] && export LEAKSAFE_DUMP=1

log=$(mktemp)
trap 'rm -f "$log"; find "$LEAKSAFE_DIR" -name "*.dump" -delete' EXIT
# shellcheck disable=SC2086 # several packages
go test $PACKAGES 2>&1 | tee "$log"
code=${PIPESTATUS[0]}

# A failure begins at "leakcheck: … leak:" and goes on while lines are indented further.
failures() {
	awk '
		function depth(s) { match(s, /^[ \t]*/); return RLENGTH }
		/leakcheck: (memory|goroutine|file) leak: / { print (n++ ? "\n" : "") $0; at = depth($0); on = 1; next }
		on && depth($0) > at && NF { print; next }
		{ on = 0 }
	' "$log"
}

{
	found=$(failures)
	if [ -n "$found" ]; then
		printf '## Leaks\n\n```\n%s\n```\n' "$found"
	elif [ "$code" -eq 0 ]; then
		printf '## No leak\n\nThe leak tests of %s packages passed.\n' "$(grep -c '^ok' "$log")"
	else
		printf '## Tests failed\n\nNo leak was found; see the log.\n'
	fi
	for dump in $(find "$LEAKSAFE_DIR" -name '*.dump'); do
		if go run github.com/leaksafe/leaksafe/leakcheck/cmd/leakcheck flame "$dump" "${dump%.dump}.pb.gz"; then
			printf '\nWho retains the memory: `go tool pprof -http=: %s`, from the artefact.\n' "$(basename "${dump%.dump}.pb.gz")"
		fi
	done
} >>"${GITHUB_STEP_SUMMARY:-/dev/stdout}"
exit "$code"
