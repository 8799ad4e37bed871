# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034,SC2153 # setup reads the variables
#
# The toolchain tree of the next kernel: sid, with the compilers that this kernel was built with.

based_on toolchain
title='toolchain tree, next kernel'
after=(next-archive)
next_kernel
# The suite whose rustc the kernel needs.
BACKPORTS=${RUSTC_SUITE:-$SUITE}
# The C compiler's package: x86_64-linux-gnu-gcc-16 is of gcc-16.
next_cc=$(in_step next-kernel kernel_cc)
next_cc=${next_cc#x86_64-linux-gnu-}
toolchain_packages=("${toolchain_packages[@]/gcc-14/$next_cc}")

artefact() { name_of "$RUSTC_VERSION" "$QEMU_VERSION" "$RUSTC_SUITE" "$next_cc"; }
