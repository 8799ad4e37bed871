# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034,SC2153 # setup reads the variables
#
# What the virtual machine boots with RVFIO_KERNEL=debug.

based_on image
title='VM image, debug kernel'
after=(debug-kernel rootfs qemu7)
RELEASE=$(in_step debug-kernel kernel_release)

artefact() {
	name_of "$RELEASE" "$(basename "$(result debug-kernel)")" "$(basename "$(result rootfs)")" \
		"$(basename "$(result qemu7)")" \
		"$(cat "$SCRIPTS/vm.d/early-init")"
}

# The debug kernel is built without it.
nic_guest_modules=()

# All of its modules: there are few.
unpack_kernel() {
	cp -r "$(result debug-kernel)/install/." "$1/"
}
