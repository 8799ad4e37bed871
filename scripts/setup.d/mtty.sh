# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034 # setup reads the variables
#
# The kernel's own sample of a device that migrates, samples/vfio-mdev/mtty.c,
# which the stock kernel is built without.
#
# It is a peer to compare with: nothing of the project depends on it.

title='mtty sample'
after=(kernel)

artefact() { name_of "$RELEASE" "$(basename "$(result "${FROM[kernel]}")")"; }

build() {
	local tree
	tree=$(result "${FROM[kernel]}")/linux
	cp "$tree/samples/vfio-mdev/mtty.c" "$1/"
	echo 'obj-m := mtty.o' >"$1/Kbuild"
	# As scripts/kbuild does for the project's modules.
	in_toolchain "$1" make -C "$tree" M="$1" CC="$(in_step "${FROM[kernel]}" kernel_cc)" \
		CONFIG_DEBUG_INFO_BTF_MODULES= CONFIG_MODULE_SIG_ALL= modules
	cmp "$1/mtty.c" "$tree/samples/vfio-mdev/mtty.c"
	find "$1" -mindepth 1 ! -name mtty.c ! -name mtty.ko -delete
	[[ -e $1/mtty.ko ]] || die "the build made no mtty.ko"
}
