# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034 # setup reads the variables
#
# The kernel's own tests of VFIO, tools/testing/selftests/vfio of the same source, unmodified.
# They have no option for the IOMMU mode, so an object that is linked with them sets it.

title='VFIO selftests'
after=(toolchain source)

selftests_mode=tools/testing/vm/selftests/iommu_mode.c

artefact() {
	name_of "$KERNEL_VERSION" "$(basename "$(result source)")" "$(basename "$(result toolchain)")" \
		"$(cat "$CLONE/$selftests_mode")"
}

build() {
	local tree
	tree=$(result source)/linux
	# Everything is built outside of the tree.
	in_toolchain "$1" make -C "$tree" O="$1/headers" CC="$(in_step kernel kernel_cc)" headers
	mkdir "$1/build"
	in_toolchain "$1" "$(in_step kernel kernel_cc)" -c -o "$1/build/mode.o" "$CLONE/$selftests_mode"
	# From the environment, since their makefile adds to it.
	LDLIBS=$1/build/mode.o in_toolchain "$1" make -C "$tree/tools/testing/selftests/vfio" \
		CC="$(in_step kernel kernel_cc)" OUTPUT="$1/build" \
		KHDR_INCLUDES="-isystem $1/headers/usr/include"
	find "$1/build" -maxdepth 1 -type f -perm -u+x -exec mv -t "$1" {} +
	[[ -x $1/vfio_pci_device_test ]] || die "the build made no vfio_pci_device_test"
	find "$1" -mindepth 1 -maxdepth 1 -type d -exec rm -r {} +
}
