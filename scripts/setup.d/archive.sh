# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034 # setup reads the variables
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
series() { cut -d. -f1,2 <<<"$1"; }

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

build() {
	local release reason table names tried=0
	apt_sources
	if ! apt_own apt-get update -q; then
		[[ -e $RESOLVED ]] || die "cannot read $SUITE from $MIRROR (see above), and nothing is cached yet"
		notice "the archive cannot be read; going on with what is cached"
		return
	fi
	mapfile -t releases < <(apt_own apt-cache pkgnames linux-image- |
		sed -nE 's/^linux-image-([0-9][0-9.]*\+[a-z0-9]+-amd64)$/\1/p' | sort -rV)
	mapfile -t names < <(for release in "${releases[@]}"; do
		printf 'linux-%s\n' "image-$release" "headers-$release" "source-$(series "$release")"
	done | sort -u)
	table=$(list_served rustc qemu-system-x86 "${names[@]}")
	for release in "${releases[@]}"; do
		tried=$((tried + 1))
		if try_kernel "$release"; then
			mv "$RESOLVED.new" "$RESOLVED"
			return
		fi
		((tried > 3)) || notice "kernel $release passed over: $reason"
		echo "kernel $release passed over: $reason"
	done
	die "none of the $tried kernels that $MIRROR serves for $SUITE can be used for Rust modules"
}
