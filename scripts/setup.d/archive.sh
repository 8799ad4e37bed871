# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034,SC2153,SC2154 # setup reads the variables
#
# Asks the archive which kernel and compiler to use.
#
# The answer is a file of variables, so that later steps and offline runs need not ask again.  It is
# apt that asks, with lists of its own, and checks signatures against the Debian archive keyring.

title='archive look-up'
after=(host)

artefact() { echo; }

# An answer is good for an hour, so that 'make' in an edit loop does not wait for the archive.
current() {
	[[ -e $RESOLVED && ${REFRESH:-} != "$step" ]] &&
		[[ -n $(find "$RESOLVED" -mmin -"${RVFIO_LOOKUP_MINUTES:-60}") ]]
}

# Prints the version of the Rust compiler in a .config.
config_rustc() {
	sed -n 's/^CONFIG_RUSTC_VERSION_TEXT="rustc \([^ "]*\).*/\1/p' "$1"
}

# Prints the archive's versions of some packages as "package version suite".  apt is asked once for
# all of them, since each question takes half a second.
list_served() {
	apt_own apt-cache madison "$@" | awk -F ' *[|] *' '{
		sub(/^ */, "", $1); split($3, source, " "); sub("/.*", "", source[2])
		print $1, $2, source[2] }'
}

# served PACKAGE: prints every version, newest first, as "version suite".
served() {
	awk -v name="$1" '$1 == name { print $2, $3 }' <<<"$table"
}

serves() {
	awk -v name="$1" -v version="$2" \
		'$1 == name && $2 == version { found = 1 } END { exit !found }' <<<"$table"
}

# try_kernel RELEASE: writes the answer for a kernel, or sets 'reason' if it cannot be used.
# Kernel packages come and go one by one (the signed image a day after the source), and not every
# kernel is built with a compiler that the suite has.
try_kernel() {
	local release=$1 version part headers dir config text rustc qemu
	version=$(served "linux-image-$release" | awk 'NR == 1 { print $1 }')
	for part in "linux-headers-$release" "linux-source-$(series "$release")"; do
		serves "$part" "$version" || {
			reason="$part $version is not served"
			return 1
		}
	done
	dir=$RVFIO_CACHE/archive/headers-$release-$version
	config=$dir/config
	if [[ ! -e $config ]]; then
		mkdir -p "$dir"
		fetch "linux-headers-$release=$version" "$dir"
		headers=("$dir"/linux-headers-*.deb)
		dpkg-deb --fsys-tarfile "${headers[0]}" |
			tar -xO --wildcards '*/.config' >"$config.new"
		mv "$config.new" "$config"
	fi
	grep -q '^CONFIG_RUST=y' "$config" || {
		reason='it is built without CONFIG_RUST'
		return 1
	}
	text=$(config_rustc "$config")
	rustc=$(served rustc | awk -v want="$text" \
		'index($1, want "+") == 1 || index($1, want "-") == 1 { print; exit }')
	[[ $rustc ]] || {
		reason="its compiler, rustc $text, is not served"
		return 1
	}
	qemu=$(served qemu-system-x86 | awk 'NR == 1 { print $1 }')
	sed 's/^ *//' >"$RESOLVED.new" <<-END
		MIRROR='$MIRROR'
		RELEASE='$release'
		KERNEL_VERSION='$version'
		KERNEL_SERIES='$(series "$release")'
		KERNEL_CONFIG='$config'
		RUSTC_VERSION='${rustc% *}'
		RUSTC_SUITE='${rustc#* }'
		QEMU_VERSION='$qemu'
	END
}

# Prints the archive's kernels by release, newest first: 7.3.4+deb13-amd64, or 7.3-amd64.
list_releases() {
	apt_own apt-cache pkgnames linux-image- |
		sed -nE 's/^linux-image-([0-9][0-9.]*(\+[a-z0-9]+)?-amd64)$/\1/p' | sort -rV
}

# candidates RELEASE...: prints those to try first: the one that the user names, or all of a
# supported series.
candidates() {
	local release
	for release in "$@"; do
		if [[ $ASKED ]]; then
			[[ $release != "$ASKED" ]] || echo "$release"
		elif is_supported "$release"; then
			echo "$release"
		fi
	done
}

# last_resorts RELEASE...: prints the others, for a first set-up after the archive has dropped the
# supported series.
last_resorts() {
	local release
	[[ ! $ASKED ]] || return 0
	for release in "$@"; do is_supported "$release" || echo "$release"; done
}

# tell_of_newer RELEASE...: says if the first, the newest, is of a later series than all that are
# supported.
tell_of_newer() {
	local newest
	[[ $# != 0 && ! $ASKED ]] || return 0
	newest=$( (series "$1" && supported_series) | sort -rV | head -n 1)
	if ! is_supported "$newest"; then
		notice "the archive has kernel $1; supported here: $(supported_series | xargs). RVFIO_RELEASE=$1 tries it"
	fi
}

# Prints what is looked for, in words.
wanted_kernel() {
	if [[ $ASKED ]]; then
		echo "kernel $ASKED"
	else
		echo "kernel of series $(supported_series | xargs)"
	fi
}

# take RELEASE...: takes the first that can be used; says of each before it why it cannot.
take() {
	local release reason
	for release in "$@"; do
		if try_kernel "$release"; then
			mv "$RESOLVED.new" "$RESOLVED"
			return
		fi
		passed_over=$((passed_over + 1))
		((passed_over > 3)) || notice "kernel $release passed over: $reason"
		echo "kernel $release passed over: $reason"
	done
	return 1
}

# keep_cached REASON: if the cache holds an earlier answer, takes that for another hour, so that
# nothing that the archive does now stops anybody.
keep_cached() {
	[[ -e $RESOLVED ]] || return
	notice "$1; going on with the kernel in the cache, $(. "$RESOLVED" && echo "$RELEASE")"
	touch "$RESOLVED"
}

build() {
	local reason table names releases chosen rest passed_over=0
	apt_sources
	if ! apt_own apt-get update -q; then
		reason="${SUITES[*]} cannot be read from $MIRROR"
		keep_cached "$reason" ||
			die "$reason, and the cache holds no $(wanted_kernel): check the network, or set RVFIO_MIRROR to another mirror"
		return
	fi
	mapfile -t releases < <(list_releases)
	mapfile -t chosen < <(candidates "${releases[@]}")
	mapfile -t rest < <(last_resorts "${releases[@]}")
	tell_of_newer "${releases[@]}"
	mapfile -t names < <(for release in "${releases[@]}"; do
		printf 'linux-%s\n' "image-$release" "headers-$release" "source-$(series "$release")"
	done | sort -u)
	table=$(list_served rustc qemu-system-x86 "${names[@]}")
	if take "${chosen[@]}"; then
		return
	fi
	reason="$MIRROR serves no usable $(wanted_kernel) in ${SUITES[*]}"
	if keep_cached "$reason"; then
		return
	fi
	((${#rest[@]})) || die "$reason; it serves: ${releases[*]:-no kernel}"
	notice "$reason; trying others, with which the modules may not build"
	take "${rest[@]}" || die "$reason, nor another kernel that Rust modules can be built for"
}
