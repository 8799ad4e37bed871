# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2154 # the variables are those of vm
#
# Fills the directory through which a virtual machine learns what to do.
# Sourced by vm.

readonly VM_TESTS=tools/testing/vm

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
	# Debug information is most of a module, and reading it takes the machine seconds.
	RVFIO_TOOLCHAIN=$RVFIO_TOOLCHAIN "$SCRIPTS/in-toolchain" -C "$control/modules" \
		find . -name '*.ko' -exec strip --strip-debug {} +
	cp -r "$RVFIO_SELFTESTS" "$control/selftests"
	add_tests "$control"
}

# add_tests CONTROL: adds the tests' Python files, and their compiled form, as an archive. Over 9p,
# and without the compiled form, an emulated machine takes several seconds longer to collect tests.
add_tests() {
	local bytecode
	bytecode=$RVFIO_CACHE/bytecode/$(sha256sum <<<"$CLONE" | head -c 12)
	mkdir -p "$bytecode"
	RVFIO_TOOLCHAIN=$RVFIO_TOOLCHAIN "$SCRIPTS/in-toolchain" -C "$CLONE" python3 -B \
		scripts/vm.d/bytecode.py "$CLONE/$VM_TESTS" "/src/$VM_TESTS" "$bytecode" ||
		note "the tests' Python files could not be compiled ahead; the machine does it"
	(cd "$CLONE/$VM_TESTS" && find . -name '*.py' -print0) |
		tar -c -f "$1/tests.tar" --owner=0 --group=0 -C "$CLONE/$VM_TESTS" --null -T - \
			-C "$bytecode" .
}
