# shellcheck shell=sh
# What the scripts here share. Every variable can be set in the environment.
#
#   DEPLOY_ROOT/releases/NAME   one virtual environment a release
#   DEPLOY_ROOT/current         link to the one that is served; `previous` to the one before
#   DEPLOY_ROOT/backups         what was backed up before every release

DEPLOY_ROOT=${DEPLOY_ROOT:-/opt/cervella}
DEPLOY_ENV_FILE=${DEPLOY_ENV_FILE:-/etc/cervella/cervella.env}
DEPLOY_UNIT=${DEPLOY_UNIT:-cervella.service}
DEPLOY_USER=${DEPLOY_USER:-cervella}

say() { printf '%s\n' "$*" >&2; }

die() {
	say "$*"
	exit 1
}

# Read the unit's settings. The file is systemd's, not a shell's: nothing in it is run.
load_settings() {
	if [ -e "$DEPLOY_ENV_FILE" ]; then
		while IFS= read -r line || [ -n "$line" ]; do
			case $line in
			CERVELLA_*=*) ;;
			*) continue ;;
			esac
			value=${line#*=}
			case $value in
			\"*\") value=${value#\"} value=${value%\"} ;;
			\'*\') value=${value#\'} value=${value%\'} ;;
			esac
			export "${line%%=*}=$value"
		done <"$DEPLOY_ENV_FILE"
	fi
	# The unit's own default, and not that of whoever runs this script.
	export CERVELLA_HOME="${CERVELLA_HOME:-/var/lib/cervella}"
}

# Run the program of a release as the service does: as its user, or what it writes would belong to root
# and the service could not read it; and in its folder, or another `.env` would be read.
cervella() {
	release=$1
	shift
	(
		cd "$CERVELLA_HOME" || exit 1
		if [ "$(id -u)" -eq 0 ] && id "$DEPLOY_USER" >/dev/null 2>&1; then
			exec runuser -u "$DEPLOY_USER" -- "$release/bin/cervella" "$@"
		fi
		exec "$release/bin/cervella" "$@"
	)
}

# Print where a link of ours leads, or nothing.
release_of() { readlink "$DEPLOY_ROOT/$1" 2>/dev/null || true; }

# Let a link lead elsewhere, in one step: it is never missing.
point() {
	ln -sfn "$2" "$DEPLOY_ROOT/$1.new"
	mv -T "$DEPLOY_ROOT/$1.new" "$DEPLOY_ROOT/$1"
}

# Only one of these scripts works at a time; another one is told so.
take_lock() {
	mkdir -p "$DEPLOY_ROOT"
	exec 9>"$DEPLOY_ROOT/.lock"
	flock -n 9 || die "Another deploy or rollback is under way ($DEPLOY_ROOT/.lock)."
}
