# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034 # setup reads the variables
#
# The kernel source with all that the debug kernel is built from.

based_on source
title='kernel source to build'

# Other machines, and drivers for what the virtual one does not have.
source_excludes() {
	local dir
	printf '%s\n' \
		Documentation/'*'.{rst,yaml,svg,txt} \
		arch/'[!x]*/*'.{'[chS]','dts*'} arch/'[!x]*'/configs/'*' \
		arch/xtensa/'*.[chS]' \
		drivers/gpu/drm/amd/'*.[ch]' tools/perf/'*' \
		tools/testing/selftests/'[!v]*'
	for dir in drivers/{gpu/drm,media,staging,scsi,infiniband,iio} \
		drivers/net/{wireless,ethernet} sound; do
		echo "$dir/*.c"
	done
}
