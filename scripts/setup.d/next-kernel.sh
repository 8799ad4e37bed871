# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034,SC2153 # setup reads the variables
#
# The tree of the next kernel.

based_on kernel
title='kernel tree, next kernel'
after=(next-toolchain next-source)
next_kernel
