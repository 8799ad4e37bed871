# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2154 # the variables are those of vm
#
# Fills the directory through which a virtual machine learns what to do.
# Sourced by vm.

# Does the guest see this path?
is_shared() {
	local share
	for share in "${shares[@]}"; do
		[[ $1/ != "$share"/* ]] || return 0
	done
	return 1
}

# fill_control NAME COMMAND [ARGUMENT]...
fill_control() {
	local control=$run/$1/control i name directory=/src
	mkdir -p "$control/modules"
	cp "$SCRIPTS/vm.d/guest-init" "$control/init"
	cp "$SCRIPTS/vm.d/serve" "$control/"
	echo "$1" >"$control/name"
	shift
	printf '%s\0' "$@" >"$control/command"

	if is_shared "$PWD"; then
		directory=$PWD
	elif [[ $PWD/ == "$CLONE"/* ]]; then
		directory=/src${PWD#"$CLONE"}
	fi
	echo "$directory" >"$control/directory"

	# The clone does not change during a run (loose cache), a share may.
	echo "src ro,cache=loose /src" >"$control/shares"
	for i in "${!shares[@]}"; do
		printf 'share%d rw,cache=mmap %s\n' "$i" "${shares[i]}"
		((i)) || echo 'again - /share'
	done >>"$control/shares"

	for name in "${passed[@]}"; do
		[[ ! -v $name ]] || printf 'export %s=%q\n' "$name" "${!name}"
	done >"$control/environment"

	find "$(modules_directory)" \( -path "$CLONE/tools" -o -path "$CLONE/build" \) -prune \
		-o -name '*.ko' -exec cp -t "$control/modules" {} +
	# Tests and benchmarks compare with the kernel's sample.
	cp "$RVFIO_MTTY/mtty.ko" "$control/modules/"
	cp -r "$RVFIO_SELFTESTS" "$control/selftests"
}
