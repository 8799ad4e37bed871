# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034 # setup reads the variables
#
# A QEMU of the generation that speaks the v1 migration region: Debian 12's 7.2.
#
# It is run by chroot, so the packages need to be unpacked and no more.

title='QEMU 7.2 tree'
after=(archive)

QEMU7_SUITE=bookworm

artefact() { name_of "$QEMU7_SUITE"; }

build() {
	as_root mmdebstrap --mode=root --variant=extract --format=directory \
		--keyring="$(keyring)" \
		--aptopt='Acquire::Languages "none"' \
		--aptopt='Acquire::Retries "3"' \
		--aptopt='APT::Install-Recommends "false"' \
		--dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--include=qemu-system-x86 "$QEMU7_SUITE" "$1/root" \
		"deb [signed-by=$(keyring)] $MIRROR $QEMU7_SUITE main"
	# Mount points for the tests.
	as_root mkdir -p "$1"/root/{dev,proc,sys,tmp}
}
