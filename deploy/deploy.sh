#!/bin/sh
# Put a release beside the one that is served, switch to it, and back where it does not answer.
#
#   deploy/deploy.sh [--index] RELEASE
#
# RELEASE is a wheel or a folder with the source, a version (0.9.0, from the package index), or a branch,
# tag or commit of the repository that this script is in. --index has the new release build the index
# afresh, where its notes ask for that; nobody is answered meanwhile.
#
#   DEPLOY_EXTRAS   extras to install, for example "local,otel"
#   DEPLOY_PYTHON   interpreter of the new environment, python3
#   DEPLOY_KEEP     releases that stay, 3
set -eu
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/common.sh
. "$here/common.sh"

index=
if [ "${1:-}" = --index ]; then
	index=1
	shift
fi
[ $# -eq 1 ] || die "usage: deploy.sh [--index] RELEASE"
wanted=$1
load_settings
take_lock
old=$(release_of current)
older=$(release_of previous)
scratch=$(mktemp -d)
new=
trap 'rm -rf "$scratch"; [ -z "$new" ] || rm -rf "$new"' EXIT

# Find out what to install, and which versions it was tested with.
extras=${DEPLOY_EXTRAS:+[$DEPLOY_EXTRAS]}
name=$(printf '%s' "${wanted##*/}" | tr -c 'A-Za-z0-9._-' '-')
source=$here/..
if [ -e "$wanted" ]; then
	what=$(cd "$(dirname "$wanted")" && pwd)/$(basename "$wanted")$extras
	[ ! -d "$wanted" ] || source=$wanted
elif commit=$(git -C "$here" rev-parse --quiet --verify "$wanted^{commit}" 2>/dev/null); then
	source=$scratch/source
	mkdir "$source"
	git -C "$(git -C "$here" rev-parse --show-toplevel)" archive "$commit" | tar -x -C "$source"
	what=$source$extras
	name=$name-$(printf '%.8s' "$commit")
else
	what="cervella-rag$extras==$wanted"
fi

if [ -n "$old" ]; then
	say "Backing up..."
	backup=$("$here/backup.sh")
	say "$backup"
fi

say "Installing $wanted..."
# Built where it stays: the programs of an environment know its path.
new=$DEPLOY_ROOT/releases/$(date -u +%Y%m%dT%H%M%SZ)-$name
mkdir -p "$DEPLOY_ROOT/releases"
"${DEPLOY_PYTHON:-python3}" -m venv "$new"
set -- "$what"
[ ! -e "$source/constraints.txt" ] || set -- --constraint "$source/constraints.txt" "$what"
"$new/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
"$new/bin/cervella" --help >/dev/null || die "The new release does not even start; nothing was changed."
[ -z "$old" ] || printf '%s\n' "$backup" >"$new/backup-before"

say "Switching..."
made=$new
new= # from here on it stays, to be looked at where it fails
[ -z "$old" ] || point previous "$old"
point current "$made"
export SMOKE_URL="${SMOKE_URL:-http://127.0.0.1:${CERVELLA_API__PORT:-8000}}"
case ${CERVELLA_API__KEYS:-} in
"" | \{*) ;;
*) keys=${CERVELLA_API__KEYS#*:} && export SMOKE_KEY="${SMOKE_KEY:-${keys%%,*}}" ;;
esac

if systemctl restart "$DEPLOY_UNIT" &&
	{ [ -z "$index" ] || cervella "$made" index --rebuild >&2; } &&
	"$here/smoke.sh" "$SMOKE_URL"; then
	say "Served: $made"
elif [ -z "$old" ]; then
	die "$made does not answer as it should, and there is nothing to go back to. journalctl -u $DEPLOY_UNIT"
else
	say "$made does not answer as it should; going back to $old. journalctl -u $DEPLOY_UNIT"
	DEPLOY_LOCKED=1 "$here/rollback.sh" ${index:+--data} || die "Going back failed as well."
	# The one that failed is nothing to go back to.
	if [ -n "$older" ]; then point previous "$older"; else rm -f "$DEPLOY_ROOT/previous"; fi
	exit 1
fi

# Older releases go, but never one that a link leads to.
find "$DEPLOY_ROOT/releases" -mindepth 1 -maxdepth 1 | sort -r | tail -n +"$((${DEPLOY_KEEP:-3} + 1))" |
	while IFS= read -r past; do
		[ "$past" = "$made" ] || [ "$past" = "$old" ] || rm -rf "$past"
	done
