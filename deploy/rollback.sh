#!/bin/sh
# Serve the release before this one again, within half a minute. Run twice, it goes forth again.
#
#   deploy/rollback.sh [--data]    --data: also bring back the index and the conversations of before
#                                  the deploy; what was said since is lost, a copy of it is made
set -eu
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/common.sh
. "$here/common.sh"
load_settings
# deploy.sh holds the lock already where it calls this.
[ -n "${DEPLOY_LOCKED:-}" ] || take_lock

now=$(release_of current)
before=$(release_of previous)
if [ -z "$before" ] || [ ! -x "$before/bin/cervella" ]; then
	die "There is no release to go back to in $DEPLOY_ROOT."
fi

if [ "${1:-}" = --data ]; then
	[ -r "$now/backup-before" ] || die "No backup was made before $now."
	backup=$(cat "$now/backup-before")
	systemctl stop "$DEPLOY_UNIT"
	"$here/backup.sh" >/dev/null || say "What is there now could not be backed up."
fi
point current "$before"
point previous "$now"
if [ "${1:-}" = --data ]; then
	cervella "$before" restore "$backup" >&2
fi
systemctl restart "$DEPLOY_UNIT"

case ${CERVELLA_API__KEYS:-} in
"" | \{*) ;;
*) keys=${CERVELLA_API__KEYS#*:} && export SMOKE_KEY="${SMOKE_KEY:-${keys%%,*}}" ;;
esac
SMOKE_WAIT_SECONDS=${SMOKE_WAIT_SECONDS:-25} \
	"$here/smoke.sh" --ready "${SMOKE_URL:-http://127.0.0.1:${CERVELLA_API__PORT:-8000}}"
say "Served: $before"
