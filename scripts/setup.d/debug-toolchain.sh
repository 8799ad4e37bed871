# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034 # setup reads the variables
#
# The toolchain tree of the debug kernel: only clang compiles a kernel with both Rust and KASAN.

based_on toolchain
title='toolchain tree with clang'
toolchain_packages+=(clang)
