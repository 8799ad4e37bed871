# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034,SC2153 # setup reads the variables
#
# The source of the next kernel.

based_on source
title='kernel source, next kernel'
after=(next-archive)
next_kernel
