# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034,SC2153 # setup reads the variables
#
# What the virtual machine boots with RVFIO_KERNEL=next.

based_on image
title='VM image, next kernel'
after=(next-archive rootfs qemu7)
next_kernel
