#!/bin/sh
# Ask a served Cervella who she is. Exit code 0 only where she is ready and answers as herself.
#
#   deploy/smoke.sh [--ready] [URL]      --ready: look only whether she is ready, ask nothing
#
#   SMOKE_KEY              key, where she asks for one (never on the command line, where others could read it)
#   SMOKE_NAME             name she must call herself, "Cervella"
#   SMOKE_WAIT_SECONDS     longest wait until she is ready, 60
#   SMOKE_ANSWER_SECONDS   longest wait for the answer, the loading of a model included, 240
set -eu

only_ready=
if [ "${1:-}" = --ready ]; then
	only_ready=1
	shift
fi
url=${1:-http://127.0.0.1:8000}
url=${url%/}
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT

# METHOD PATH SECONDS [BODY]: print the status, 000 where nobody answers; what was said is in $answer.
ask() {
	{
		printf 'request = "%s"\nurl = "%s%s"\nmax-time = %s\n' "$1" "$url" "$2" "$3"
		[ -z "${SMOKE_KEY:-}" ] || printf 'header = "x-api-key: %s"\n' "$(printf %s "$SMOKE_KEY" | sed 's/[\\"]/\\&/g')"
		[ -z "${4:-}" ] || printf 'header = "content-type: application/json"\n'
	} | curl --silent --noproxy '*' --output "$answer" --write-out '%{http_code}' \
		${4:+--data-binary "$4"} --config - || true
}

fail() {
	printf 'smoke: %s\n' "$*" >&2
	head -c 600 "$answer" >&2
	echo >&2
	exit 1
}

deadline=$(($(date +%s) + ${SMOKE_WAIT_SECONDS:-60}))
while status=$(ask GET /health/ready 5) && [ "$status" != 200 ]; do
	case $status in
	401 | 403 | 421) fail "she is there and lets nobody in ($status); set SMOKE_KEY" ;;
	esac
	[ "$(date +%s)" -lt "$deadline" ] || fail "not ready at $url ($status)"
	sleep 0.5
done
[ -z "$only_ready" ] || exit 0

status=$(ask POST /v1/chat "${SMOKE_ANSWER_SECONDS:-240}" '{"message": "chi sei?"}')
[ "$status" = 200 ] || fail "\"chi sei?\" was answered with status $status"
conversation=$(SMOKE_NAME=${SMOKE_NAME:-Cervella} python3 - "$answer" <<'PYTHON'
import json, os, sys

try:
    with open(sys.argv[1], encoding="utf-8") as file:
        told = json.load(file)
    text, persona = told["answer"], told["provenance"]["persona"]
except (ValueError, KeyError, TypeError):
    sys.exit("this is no answer of hers")
if os.environ["SMOKE_NAME"].casefold() not in text.casefold():
    sys.exit("she does not say her name")
print(f"smoke: {told['mode']}, {persona}: {' '.join(text.split())[:160]}", file=sys.stderr)
print(told.get("conversation_id") or "")
PYTHON
) || fail "\"chi sei?\" was answered by somebody else"
# It was no conversation of anybody's.
case $conversation in
"" | *[!0-9a-fA-F-]*) ;;
*) ask DELETE "/v1/conversations/$conversation" 10 >/dev/null ;;
esac
