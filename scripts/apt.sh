# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034 # for the scripts that source it
#
# apt with lists and sources of its own: this machine's apt stays as it is, and the suite may
# differ from the machine's.  Sourced by setup.

# use_stable, use_unstable: set the suites to read, where apt keeps their lists, the release that
# the user asks for, and the file that holds the answer of the archive step.  Clones that support
# other series share the cache, and RVFIO_RELEASE is for one run, so each question has an answer of
# its own.
use_stable() {
	ASKED=${RVFIO_RELEASE:-}
	[[ $RVFIO_KERNEL != next ]] || ASKED=''
	SUITE=trixie
	BACKPORTS=$SUITE-backports
	SUITES=("$SUITE" "$SUITE-updates" "$BACKPORTS")
	APT_DIRECTORY=$RVFIO_CACHE/apt
	RESOLVED=$RVFIO_CACHE/archive/resolved-${ASKED:-$(supported_series | paste -sd,)}
}

use_unstable() {
	SUITE=sid
	BACKPORTS=experimental
	SUITES=("$SUITE" "$BACKPORTS")
	APT_DIRECTORY=$RVFIO_CACHE/apt-next
	ASKED=${RVFIO_RELEASE:-}
	RESOLVED=$RVFIO_CACHE/archive/resolved-next${ASKED:+-$ASKED}
}

# The mirror of Debian proper that this machine's apt uses already.
find_mirror() {
	local uri=''
	if [[ ${RVFIO_MIRROR:-} ]]; then
		echo "${RVFIO_MIRROR%/}"
		return
	fi
	# Security and update suites have a '-' or '/'; other vendors' suites
	# are not named like this Debian release.
	# shellcheck disable=SC2016 # apt-get expands these
	uri=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Identifier: Packages' |
		awk -v own="$(. /etc/os-release && echo "${VERSION_CODENAME:-}")" '
			$2 == own || $2 ~ /^(stable|testing|unstable|sid)$/ { print $1; exit }')
	case $uri in
	mirror+file:*) uri=$(awk '/^[^#]/ { print $1; exit }' "${uri#mirror+file:}") ;;
	esac
	[[ $uri ]] || return 1
	echo "${uri%/}"
}

keyring() {
	local file
	for file in /usr/share/keyrings/debian-archive-keyring.{pgp,gpg}; do
		if [[ -e $file ]]; then
			echo "$file"
			return
		fi
	done
	die "the Debian archive keyring is missing: install debian-archive-keyring"
}

# The lines for sources.list, also used inside the trees.
source_lines() {
	local suite
	for suite in "${SUITES[@]}"; do
		echo "deb [signed-by=$(keyring)] $MIRROR $suite main"
	done
}

apt_sources() {
	local apt=$APT_DIRECTORY
	MIRROR=$(find_mirror) ||
		die "found no Debian mirror in this machine's apt configuration; set RVFIO_MIRROR"
	mkdir -p "$apt"/{state/lists/partial,cache/archives/partial}
	: >"$apt/status"
	source_lines >"$apt/sources.list"
	cat >"$apt/apt.conf" <<-END
		Dir::State "$apt/state";
		Dir::State::status "$apt/status";
		Dir::Cache "$apt/cache";
		Dir::Etc::SourceList "$apt/sources.list";
		Dir::Etc::SourceParts "/dev/null";
		Dir::Etc::Preferences "/dev/null";
		Dir::Etc::PreferencesParts "/dev/null";
		APT::Architecture "amd64";
		APT::Architectures { "amd64"; };
		APT::Sandbox::User "";
		APT::Update::Error-Mode "any";
		Acquire::Languages "none";
		Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
		Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
		Acquire::Retries "3";
	END
}

apt_own() {
	APT_CONFIG=$APT_DIRECTORY/apt.conf "$@"
}

# fetch PACKAGE=VERSION DIR: downloads a package, checked by apt.
fetch() {
	(cd "$2" && apt_own apt-get download -q "$1")
}

# bootstrap DIR PACKAGES FROM_BACKPORTS: a tree of the suite.  Packages that
# must come from backports bring their dependencies from there, which a plain
# --include does not do.
bootstrap() {
	local dir=$1 packages=$2 backports=$3 option options=()
	# A mirror may lag or be frozen.  Lists may be as old as this machine's apt lets them be.
	while read -r option; do
		options+=(--aptopt="$option")
	done < <(apt-config dump --format '%f "%v"%n' Acquire::Check-Valid-Until Acquire::Check-Date)
	as_root mmdebstrap --mode=root --variant=apt --format=directory \
		--keyring="$(keyring)" \
		--aptopt='Acquire::Languages "none"' \
		--aptopt='Acquire::Retries "3"' \
		--aptopt='APT::Install-Recommends "false"' \
		"${options[@]}" \
		--dpkgopt='force-unsafe-io' \
		--dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--include="$packages" \
		--customize-hook="APT_CONFIG=\"\$MMDEBSTRAP_APT_CONFIG\" apt-get -y -q \
			-o DPkg::Chroot-Directory=\"\$1\" install -t $BACKPORTS $backports" \
		"$SUITE" "$dir" - < <(source_lines)
}
