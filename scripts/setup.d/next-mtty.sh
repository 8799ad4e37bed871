# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034,SC2153 # setup reads the variables
#
# The sample device, for the next kernel.

based_on mtty
title='mtty sample, next kernel'
after=(next-kernel)
next_kernel
