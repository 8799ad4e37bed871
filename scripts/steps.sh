# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2030,SC2031,SC2154,SC2317 # steps are loaded in subshells
#
# Runs the steps of the set-up in order of need, side by side if they do not need each other.
# Sourced by setup.
#
# A step is a file in setup.d that defines
#   title     what to call it
#   after     the steps whose results it needs
#   artefact  prints the name of its result, made of all versions that matter; a step that prints
#             nothing has no result, and defines 'current' itself
#   build DIR makes the result in DIR, which is then renamed into place

# For each kernel that RVFIO_KERNEL can name: its steps, those of them that it shares with the
# stock kernel, and the steps that bring the compilers, the source, the tree to build against,
# the sample device and the machine's image.
STOCK_STEPS=(host archive toolchain source kernel mtty selftests rootfs qemu7 image)
DEBUG_STEPS=(host archive toolchain source selftests rootfs qemu7 debug-toolchain debug-source
	debug-kernel debug-image)
NEXT_STEPS=(host archive toolchain source selftests rootfs qemu7 next-archive next-toolchain
	next-source next-kernel next-mtty next-image)
# shellcheck disable=SC2034 # read by setup
case ${RVFIO_KERNEL:=stock} in
stock)
	STEPS=("${STOCK_STEPS[@]}")
	SHARED_STEPS=()
	declare -A FROM=([toolchain]=toolchain [source]=source [kernel]=kernel [mtty]=mtty
		[image]=image)
	;;
debug)
	STEPS=("${DEBUG_STEPS[@]}")
	SHARED_STEPS=(host archive selftests rootfs qemu7)
	declare -A FROM=([toolchain]=debug-toolchain [source]=debug-source [kernel]=debug-kernel
		[mtty]=debug-kernel [image]=debug-image)
	;;
next)
	STEPS=("${NEXT_STEPS[@]}")
	SHARED_STEPS=(host archive selftests rootfs qemu7)
	declare -A FROM=([toolchain]=next-toolchain [source]=next-source [kernel]=next-kernel
		[mtty]=next-mtty [image]=next-image)
	;;
*) die "RVFIO_KERNEL: there is no kernel '$RVFIO_KERNEL' (there are: stock, debug, next)" ;;
esac
# Where results are made.
WORK=$RVFIO_CACHE/tmp
[[ $RVFIO_KERNEL == stock ]] || WORK+=-$RVFIO_KERNEL

# Says something on the terminal from within a step, whose output is its log.
notice() {
	echo "      $*" >&3
}

# in_step STEP COMMAND...: runs a function with the step's file loaded.
in_step() (
	# shellcheck disable=SC2034 # used by the step's file
	recipe=("$SCRIPTS/setup.d/$1.sh")
	# The step's file may replace it.
	current() { [[ -e $(result "$step") ]]; }
	step=$1
	use_stable
	load_resolved
	. "${recipe[0]}"
	"${@:2}"
)

# Sets the kernel, the compiler and the QEMU that the archive step chose, if it has run.
load_resolved() {
	if [[ -e $RESOLVED ]]; then
		. "$RESOLVED"
	fi
}

# For the file of a step of the next kernel: the versions are those of unstable.
next_kernel() {
	use_unstable
	# shellcheck disable=SC2034 # read by the steps
	MIRROR='' RELEASE='' KERNEL_VERSION='' KERNEL_SERIES='' KERNEL_CONFIG=''
	# shellcheck disable=SC2034
	RUSTC_VERSION='' RUSTC_SUITE='' QEMU_VERSION=''
	load_resolved
}

# based_on STEP: for a step's file, to start from that of another step.
based_on() {
	recipe+=("$SCRIPTS/setup.d/$1.sh")
	. "$SCRIPTS/setup.d/$1.sh"
}

# Names a result after the first version, with a hash of all of them and of the recipe without its
# comments.
name_of() {
	local hash
	hash=$({ printf '%s\n' "$@" && grep -hv '^[[:space:]]*#' "${recipe[@]}"; } | sha256sum)
	echo "$1-${hash:0:8}"
}

# Prints where the result of a step is, or would be.
result() {
	echo "$RVFIO_CACHE/$1/$(in_step "$1" artefact)"
}

is_current() { in_step "$1" current; }

# in_toolchain_of STEP DIR COMMAND...
in_toolchain_of() {
	RVFIO_TOOLCHAIN=$(result "$1")/root "$SCRIPTS/in-toolchain" -C "${@:2}"
}

in_toolchain() {
	in_toolchain_of "${FROM[toolchain]}" "$@"
}

print_title() {
	local name
	name=$(artefact)
	echo "$title${name:+ ${name%-*}}"
}

print_needs() { echo "${after[*]}"; }

print_release() { echo "$RELEASE"; }

step_title() { in_step "$1" print_title; }

step_label() {
	local i
	for i in "${!STEPS[@]}"; do
		if [[ ${STEPS[i]} == "$1" ]]; then
			echo "[$((i + 1))/${#STEPS[@]}] $(step_title "$1")"
		fi
	done
}

# Makes one result.  Runs in the background, with the log as its output.
make_step() {
	local step=$1 name tmp=$WORK/$1
	mkdir -p "$tmp" "$RVFIO_CACHE/$step"
	in_step "$step" build "$tmp"
	name=$(in_step "$step" artefact)
	if [[ $name ]]; then
		mv -T "$tmp" "$RVFIO_CACHE/$step/$name"
	fi
}

step_failed() {
	local label=$1 log=$2
	{
		echo "$label: FAILED. The end of its log:"
		tail -n 12 "$log" | sed 's/^/      | /'
		echo "      the whole log: $log"
	} >&3
}

stop_steps() {
	local pid
	for pid in "${!running[@]}"; do
		as_root kill -TERM -- "-$pid" 2>/dev/null || true
	done
	wait
}

# The steps asked for and all that they need.
with_needs() {
	local step need
	for step in "$@"; do
		for need in $(in_step "$step" print_needs); do
			with_needs "$need"
		done
		echo "$step"
	done
}

# Is everything ready that the step needs?
is_ready() {
	local need
	for need in $(in_step "$1" print_needs); do
		[[ ${state[$need]} == ready ]] || return 1
	done
}

# Starts every step that can start now.
start_steps() {
	local step log started=1
	while ((started)); do
		started=0
		for step in "${STEPS[@]}"; do
			if [[ ${state[$step]:-} != wanted ]] || ! is_ready "$step"; then
				continue
			fi
			if is_current "$step"; then
				state[$step]=ready
				started=1
				[[ $quiet ]] || echo "$(step_label "$step"): ready" >&3
				continue
			fi
			log=$RVFIO_CACHE/log/$step.log
			state[$step]=running
			begun[$step]=$EPOCHSECONDS
			[[ $step == archive || $step == host ]] ||
				echo "$(step_label "$step") ..." >&3
			# A process group of its own, to be stopped as a whole.
			set -m
			(set +m && make_step "$step") >"$log" 2>&1 </dev/null &
			running[$!]=$step
			set +m
		done
	done
}

run_steps() {
	local -A state=() running=() begun=()
	local step pid label
	exec 3>&1
	trap 'stop_steps; echo "set-up interrupted" >&2; exit 130' INT TERM HUP
	for step in $(with_needs "$@"); do
		state[$step]=wanted
	done
	start_steps
	while ((${#running[@]})); do
		local status=0
		wait -n -p pid "${!running[@]}" || status=$?
		step=${running[$pid]}
		unset "running[$pid]"
		label=$(step_label "$step")
		if ((status)); then
			stop_steps
			step_failed "$label" "$RVFIO_CACHE/log/$step.log"
			exit 1
		fi
		state[$step]=ready
		echo "$label: done, $((EPOCHSECONDS - begun[$step])) s" >&3
		start_steps
	done
	trap - INT TERM HUP
}
