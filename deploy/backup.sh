#!/bin/sh
# Back up index and conversations while she serves; print the file. The newest DEPLOY_BACKUPS are kept.
#
#   deploy/backup.sh
set -eu
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/common.sh
. "$here/common.sh"
load_settings

release=$(release_of current)
[ -n "$release" ] || die "Nothing is deployed in $DEPLOY_ROOT."
folder=$DEPLOY_ROOT/backups
mkdir -p "$folder"
if [ "$(id -u)" -eq 0 ] && id "$DEPLOY_USER" >/dev/null 2>&1; then
	chown "$DEPLOY_USER" "$folder"
fi
chmod 700 "$folder"
file=$folder/$(date -u +%Y%m%dT%H%M%SZ).tar
cervella "$release" backup "$file" >&2
# The names are dates, so the last by name are the newest.
find "$folder" -name '*.tar' | sort -r | tail -n +"$((${DEPLOY_BACKUPS:-14} + 1))" | while IFS= read -r old; do
	rm -f "$old"
done
printf '%s\n' "$file"
