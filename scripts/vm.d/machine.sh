# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2154 # the variables are those of vm
#
# Starts, looks at and stops a machine of the run, by its name.  Its files are in $run/NAME.
# Sourced by vm.

# The process of each machine that was started and not yet stopped.
declare -A qemu=()

# log_of NAME: where its kernel log goes.
log_of() {
	if ((${#machines[@]} == 1)); then
		echo "$log"
	else
		echo "$log.$1"
	fi
}

# said NAME FILE: has it written this file of its control directory?
said() {
	[[ -e $run/$1/control/$2 ]]
}

start_machine() {
	local name=$1 output=1 kernel_log arguments=() toolchain_binds=() program=(qemu-system-x86_64)
	if [[ ${RVFIO_VM_QEMU:-} ]]; then
		# Started by its own tree's loader, since its C library may differ.
		local lib=$RVFIO_VM_QEMU/lib/x86_64-linux-gnu usr=$RVFIO_VM_QEMU/usr
		program=(env QEMU_MODULE_DIR="$usr/lib/x86_64-linux-gnu/qemu"
			"$lib/ld-linux-x86-64.so.2" --library-path "$lib:$usr/lib/x86_64-linux-gnu"
			"$usr/bin/qemu-system-x86_64" -L "$usr/share/qemu" -L "$usr/share/seabios")
	fi
	kernel_log=$(log_of "$name")
	rm -f "$run/$name/pid" "$run/$name/control"/{started,status,dmesg}
	if [[ -s $kernel_log ]]; then
		mv "$kernel_log" "$kernel_log.first"
	fi
	: >"$kernel_log"
	machine_arguments "$name"
	# Standard output is for what the first machine runs.
	[[ $name == "${machines[0]}" ]] || output=2
	RVFIO_TOOLCHAIN=$RVFIO_TOOLCHAIN "$SCRIPTS/in-toolchain" -C "$run" "${toolchain_binds[@]}" \
		"${program[@]}" "${arguments[@]}" \
		<&"$input" >&"$output" 2>"$run/$name/qemu.log" &
	qemu[$name]=$!
}

# Looks into /proc: under sudo the process is root's, and must not be sent a signal.
is_running() {
	[[ ${qemu[$1]:-} && -e /proc/${qemu[$1]} ]]
}

stop_machine() {
	local name=$1 status=0 pid
	[[ ${qemu[$name]:-} ]] || return 0
	if is_running "$name"; then
		# With sudo in between, QEMU is not the process that was started here.  It
		# deletes its file when it ends by itself.
		pid=$(cat "$run/$name/pid" 2>/dev/null) || pid=''
		as_root kill -TERM "${qemu[$name]}" 2>/dev/null || true
		[[ ! $pid ]] || as_root kill -KILL "$pid" 2>/dev/null || true
		wait "${qemu[$name]}" 2>/dev/null || true
	else
		wait "${qemu[$name]}" 2>/dev/null || status=$?
		((status == 0)) || note "QEMU of $name ended with status $status"
	fi
	qemu[$name]=''
}

stop_machines() {
	local name
	for name in "${machines[@]}"; do
		stop_machine "$name"
	done
	# A QEMU that is killed does not restore it.
	[[ ! $terminal ]] || stty "$terminal"
}

# show_console NAME LINES
show_console() {
	note "the end of the kernel log of $1:"
	tail -n "$2" "$(log_of "$1")" | tr -d '\r' | sed 's/^/  | /' >&2
}
