# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034 # setup reads the variables
#
# The few programs that the set-up itself needs on this machine.

title='host programs'
after=()

# command and the package that brings it
host_needs=(
	'mmdebstrap mmdebstrap' 'mke2fs e2fsprogs' 'xz xz-utils' 'cpio cpio'
	'tar tar' 'modprobe kmod' 'flock util-linux' 'unshare util-linux' 'make make'
	'time time'
)

host_missing() {
	local need
	for need in "${host_needs[@]}"; do
		type -P "${need% *}" >/dev/null || echo "${need#* }"
	done
	# Releases older than the suite in use need its keys as well.
	compgen -G "/usr/share/keyrings/debian-archive-$SUITE-*" >/dev/null ||
		echo debian-archive-keyring
}

artefact() { echo; }

current() { [[ -z $(host_missing) ]]; }

build() {
	local missing
	mapfile -t missing < <(host_missing | sort -u)
	export DEBIAN_FRONTEND=noninteractive
	# An old index may name files that the mirror has dropped.
	as_root apt-get update -q
	as_root apt-get install -y -q --no-install-recommends "${missing[@]}"
	current || die "still missing after apt-get install: $(host_missing | xargs)"
}
