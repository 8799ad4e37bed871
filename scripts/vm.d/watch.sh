# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034,SC2154 # the variables are those of vm
#
# Watches the machines from their start to their end.  Sourced by vm.

# Has the time of the whole run passed since the last boot?
out_of_time() {
	((timeout && EPOCHSECONDS - begun >= timeout))
}

# stands_still NAME: has its kernel log not grown for the boot time-out?  A machine beside many
# others is slow; it has time as long as its log grows.
stands_still() {
	local size
	size=$(stat -c %s "$(log_of "$1")")
	if [[ $size != "${grown_to[$1]:-}" ]]; then
		grown_to[$1]=$size
		grown_at[$1]=$EPOCHSECONDS
	fi
	((EPOCHSECONDS - grown_at[$1] >= boot_timeout))
}

# Starts the machines and waits until each has reached its command.  A boot that fails is tried
# once more; a second failure ends the run.  Returns 1 at the run's time-out, which starts again
# when all machines have booted.
boot_machines() {
	local name why ready
	local -A again=() grown_to=() grown_at=()
	begun=$EPOCHSECONDS
	for name in "${machines[@]}"; do
		start_machine "$name"
	done
	until [[ ${ready:-} ]]; do
		sleep 0.1
		ready=yes
		for name in "${machines[@]}"; do
			! said "$name" started || continue
			ready=
			if ! is_running "$name"; then
				# It may have reached the command just before its end.
				! said "$name" started || continue
				why='its own end'
			elif stands_still "$name"; then
				why="its log has not grown for $boot_timeout s"
			elif out_of_time; then
				return 1
			else
				continue
			fi
			stop_machine "$name"
			cat "$run/$name/qemu.log" >&2
			if [[ ${again[$name]:-} ]]; then
				note "$name does not reach the command ($why)"
				show_console "$name" 40
				exit "$NOT_BOOTED"
			fi
			note "the boot of $name failed ($why); trying once more"
			show_console "$name" 5
			note "its whole log: $(log_of "$name").first"
			again[$name]=yes
			unset "grown_to[$name]"
			begun=$EPOCHSECONDS
			start_machine "$name"
		done
	done
	begun=$EPOCHSECONDS
}

any_is_running() {
	local name
	for name in "${machines[@]}"; do
		! is_running "$name" || return 0
	done
	return 1
}

# Lets the machines begin and waits until they have ended; the run ends with the first machine.
# Sets 'lost' to a machine that ended too early or not at all.  Returns 1 at the run's time-out.
run_machines() {
	local name finished=''
	for name in "${machines[@]}"; do
		: >"$run/$name/control/go"
	done
	while any_is_running; do
		sleep 0.1
		if said "${machines[0]}" status; then
			: "${finished:=$EPOCHSECONDS}"
			for name in "${machines[@]:1}"; do
				: >"$run/$name/control/end"
			done
			((EPOCHSECONDS - finished < grace)) || break
			continue
		fi
		for name in "${machines[@]}"; do
			if ! is_running "$name" && ! said "$name" status; then
				lost=$name
				return
			elif [[ $name != "${machines[0]}" ]] && said "$name" status; then
				# The target's command has failed.
				return
			fi
		done
		! out_of_time || return 1
	done
	for name in "${machines[@]}"; do
		said "$name" status || lost=$name
	done
}
