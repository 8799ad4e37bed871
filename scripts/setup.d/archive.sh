# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034,SC2153 # setup reads the variables
#
# Asks the archive which kernel and compiler to use.
#
# The answer is a file of variables, so that later steps and an offline run
# need not ask again.  apt does the asking, with lists of its own, so that
# signatures are checked against the Debian archive keyring.

title='archive look-up'
after=(host)

artefact() { echo; }

# A look-up is good for an hour: 'make' in an edit loop should not wait for it.
current() {
	[[ -e $RESOLVED && ! ${REFRESH:-} ]] &&
		[[ ! ${RVFIO_RELEASE:-} || $RVFIO_RELEASE == "$RELEASE" ]] &&
		[[ -n $(find "$RESOLVED" -mmin -"${RVFIO_LOOKUP_MINUTES:-60}") ]]
}

# The rust compiler of a .config, without the words around the version.
config_rustc() {
	sed -n 's/^CONFIG_RUSTC_VERSION_TEXT="rustc \([^ "]*\).*/\1/p' "$1"
}

# The archive's versions of some packages: "package version suite", one question
# to apt for all of them since each takes half a second.
list_served() {
	apt_own apt-cache madison "$@" | awk -F ' *[|] *' '{
		sub(/^ */, "", $1); split($3, source, " "); sub("/.*", "", source[2])
		print $1, $2, source[2] }'
}

# served PACKAGE: every version, newest first, as "version suite".
served() {
	awk -v name="$1" '$1 == name { print $2, $3 }' <<<"$table"
}

serves() {
	awk -v name="$1" -v version="$2" \
		'$1 == name && $2 == version { found = 1 } END { exit !found }' <<<"$table"
}

# The name of the source package: the first two numbers.
series() { sed -E 's/^([0-9]+\.[0-9]+).*/\1/' <<<"$1"; }

# The series that the modules are known to build with, newest first.
supported_series() { grep -v '^#' "$SCRIPTS/kernel-series"; }

is_supported() { supported_series | grep -qxF "$(series "$1")"; }

# Kernel packages come and go one by one (the signed image a day after the
# source), and not all kernels are built with a compiler that the suite has.
# Sets the variables of a usable kernel, or returns why there is none.
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

# The kernels of the suite by release, newest first: 7.3.4+deb13-amd64, or 7.3-amd64.
list_releases() {
	apt_own apt-cache pkgnames linux-image- |
		sed -nE 's/^linux-image-([0-9][0-9.]*(\+[a-z0-9]+)?-amd64)$/\1/p' | sort -rV
}

# The order in which kernels are tried: the one that the user names and no other; or those of
# supported series, and after them the others, for the day on which the archive has none left.
order_releases() {
	local release
	if [[ ${RVFIO_RELEASE:-} ]]; then
		printf '%s\n' "$@" | grep -xF -- "$RVFIO_RELEASE"
		return
	fi
	for release in "$@"; do ! is_supported "$release" || echo "$release"; done
	for release in "$@"; do is_supported "$release" || echo "$release"; done
}

# Says which of the releases, newest first, is newer than all that are supported.
tell_of_newer() {
	[[ $# != 0 && ! ${RVFIO_RELEASE:-} ]] && ! is_supported "$1" || return 0
	notice "the archive has kernel $1; supported here: $(supported_series | xargs). RVFIO_RELEASE=$1 tries it"
}

# give_up REASON: with an older answer in the cache, what the archive does now stops nobody.
give_up() {
	[[ -e $RESOLVED && ! ${RVFIO_RELEASE:-} ]] || die "$1"
	notice "$1; going on with what is cached"
}

build() {
	local release reason table names tried=0 releases
	apt_sources
	if ! apt_own apt-get update -q; then
		give_up "$SUITE cannot be read from $MIRROR"
		return
	fi
	mapfile -t releases < <(list_releases)
	tell_of_newer "${releases[@]}"
	mapfile -t releases < <(order_releases "${releases[@]}")
	mapfile -t names < <(for release in "${releases[@]}"; do
		printf 'linux-%s\n' "image-$release" "headers-$release" "source-$(series "$release")"
	done | sort -u)
	table=$(list_served rustc qemu-system-x86 "${names[@]}")
	for release in "${releases[@]}"; do
		tried=$((tried + 1))
		if try_kernel "$release"; then
			is_supported "$release" || notice "kernel $release is of no supported series (scripts/kernel-series)"
			mv "$RESOLVED.new" "$RESOLVED"
			return
		fi
		((tried > 3)) || notice "kernel $release passed over: $reason"
		echo "kernel $release passed over: $reason"
	done
	((tried)) || die "$MIRROR serves no kernel ${RVFIO_RELEASE:-} for $SUITE"
	give_up "none of the $tried kernels that $MIRROR serves for $SUITE can be used for Rust modules"
}
