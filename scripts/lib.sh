# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034 # for the scripts that source it
#
# What every script here needs: messages, privileges, and where the cache is.
# Sourced, never run.

SCRIPTS=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
CLONE=$(dirname -- "$SCRIPTS")
# Not in the PATH of every user: mke2fs, depmod.
export PATH=$PATH:/usr/sbin:/sbin
export RVFIO_CACHE=${RVFIO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rvfio}

die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

note() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
}

# The kernel series that the modules are known to build with, newest first.
supported_series() { grep -v '^#' "$SCRIPTS/kernel-series"; }

# series RELEASE: the first two numbers, which also name the source package.
series() { sed -E 's/^([0-9]+\.[0-9]+).*/\1/' <<<"$1"; }

is_supported() { supported_series | grep -qxF -- "$(series "$1")"; }

# Runs a command as root: directly, or through sudo with the environment kept
# (sudo drops it, and a proxy or RVFIO_* setting must survive).
as_root() {
	if ((EUID == 0)); then
		"$@"
	else
		local vars
		mapfile -d '' -t vars < <(env -0)
		sudo -n env -- "${vars[@]}" "$@"
	fi
}

# Removes a tree that root may have built.  It never leaves the file system:
# a forgotten bind mount must not cost the user their files.
remove_tree() {
	if [[ -e $1 ]]; then
		as_root rm -rf --one-file-system -- "$1"
	fi
}

# Puts the set-up's results (RVFIO_KDIR and so on) into this shell.
load_env() {
	local vars
	vars=$("$SCRIPTS/setup" --env) || exit 1
	eval "$vars"
}

# Prints where the modules are built: the clone, or a directory of its own for every kernel but
# the stock one.
modules_directory() {
	if [[ ${RVFIO_KERNEL:-stock} == stock ]]; then
		echo "$CLONE"
	else
		echo "$CLONE/build/$RVFIO_KERNEL"
	fi
}
