# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# What the benchmarks of trapped accesses share; they source it.

# timed_and_counted SECONDS SCRIPT [ARGUMENT]...: runs a script of tools/testing/vm/bench twice,
# with the program that times accesses. The figures of the first run are times, those of the second
# are instructions, which do not depend on what else this machine does.
timed_and_counted() {
	local seconds=$1 script=$2 target=$CLONE/tools/target modules=/src/tools/testing/vm
	shift 2
	mkdir -p "$target"
	"$SCRIPTS/kbuild" modules >/dev/null
	"$SCRIPTS/in-toolchain" gcc-14 -std=gnu11 -O2 -Wall -Wextra -Werror \
		-o "$target/trap" "$CLONE/tools/testing/vm/bench/trap.c"
	echo "== time"
	"$SCRIPTS/vm" run --timeout "$seconds" -- \
		env PYTHONPATH="$modules" python3 -B "$modules/bench/$script" /src/tools/target/trap "$@"
	printf '\n== instructions, a nanosecond each\n'
	"$SCRIPTS/vm" run --timeout "$seconds" --count-instructions -- \
		env PYTHONPATH="$modules" python3 -B "$modules/bench/$script" /src/tools/target/trap "$@"
}
