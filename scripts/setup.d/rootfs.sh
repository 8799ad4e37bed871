# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034 # setup reads the variables
#
# The virtual machine's user space, without a kernel.

title='VM root tree'
after=(archive)

rootfs_packages=(
	python3 python3-pytest python3-pytest-timeout
	mount pciutils kmod procps iproute2 psmisc strace mdevctl
	# Programs for guests of QEMU in the VM.
	binutils
	# For the initramfs.
	busybox-static
)

artefact() { name_of "$SUITE" "$QEMU_VERSION"; }

build() {
	local packages
	packages=$(IFS=, && echo "${rootfs_packages[*]}")
	bootstrap "$1/root" "$packages" 'qemu-system-x86 python3-qemu-qmp'
}
