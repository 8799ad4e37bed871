# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034 # for the scripts that source it
#
# Copies of the clone's sources in the cache, to compile in. Sourced, after lib.sh and load_env.
#
# What was compiled for one clone serves the next, which may be a fresh one at another path: a file
# of a copy changes, and gets a new time, only if its contents do. A copy is used by one run at a
# time, and keeps its objects. A run takes the first that is free, so there are as many as runs that
# were ever side by side.

# take_copy NAME: sets 'copy' to a copy of that name that no other process has, until this one ends,
# and makes it equal to the clone.
take_copy() {
	local number
	mkdir -p "$RVFIO_CACHE/copies"
	for ((number = 0; ; number++)); do
		copy=$RVFIO_CACHE/copies/$1-$number
		exec {copy_lock}>"$copy.lock"
		! flock -n "$copy_lock" || break
		exec {copy_lock}>&-
	done
	mkdir -p "$copy"
	RVFIO_TOOLCHAIN=$RVFIO_TOOLCHAIN "$SCRIPTS/in-toolchain" -C "$CLONE" \
		rsync -rlp --checksum --delete --exclude=.git --exclude-from=.gitignore ./ "$copy/"
}
