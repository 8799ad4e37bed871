# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034,SC2153 # setup reads the variables
#
# Asks the archive for the newest kernel of sid or experimental, supported or not.

based_on archive
title='archive look-up, next kernel'
next_kernel

is_supported() { return 0; }

tell_of_newer() { :; }
