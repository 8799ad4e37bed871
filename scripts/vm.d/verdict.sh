# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2154 # the variables are those of vm
#
# The status of a run: the command's own counts only if the machines behaved.  Sourced by vm.

# After a time-out.
verdict_timed_out() {
	local name
	note "killed after $timeout s"
	for name in "${machines[@]}"; do
		show_console "$name" 5
	done
	return "$TIMED_OUT"
}

# After any other end.
verdict() {
	local name text='' status='' result=''
	for name in "${machines[@]}"; do
		if [[ $name == "$lost" ]] || grep -q 'Kernel panic' "$(log_of "$name")"; then
			note "$name ended before the command did"
			cat "$run/$name/qemu.log" >&2
			show_console "$name" 40
			result=$KERNEL_PANICKED
		fi
	done
	[[ ! $result ]] || return "$result"
	for name in "${machines[@]}"; do
		said "$name" status || continue
		text+="${text:+, }$(<"$run/$name/control/status") on $name"
		# The first machine's status; if it has none, the other's.
		: "${status:=$(<"$run/$name/control/status")}"
	done
	for name in "${machines[@]}"; do
		if ! "$SCRIPTS/check-kernel-log" "${log_options[@]}" "$(log_of "$name")"; then
			note "the kernel log of $name is in $(log_of "$name"); the command's own status was $text"
			result=$KERNEL_COMPLAINED
		fi
	done
	return "${result:-$status}"
}
