# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034 # setup reads the variables
#
# The kernel source, without the bulk that modules are never built against.

title='kernel source'
after=(archive)

# Patterns of what is left out, which saves a gigabyte and a third of the time.  Kconfig and 'make
# modules_prepare' read nothing of it, and nobody looks into it to write VFIO or Rust code.  '*'
# matches '/' too.
source_excludes() {
	local dir
	printf '%s\n' \
		Documentation/'*'.{rst,yaml,svg,txt} \
		arch/'[!x]*/*'.{'[chS]','dts*'} arch/'[!x]*'/configs/'*' \
		arch/xtensa/'*.[chS]' \
		drivers/gpu/drm/amd/'*.[ch]' tools/perf/'*' \
		tools/testing/selftests/'[!vkl]*' tools/testing/selftests/'[kl]*/*'
	for dir in drivers/{gpu,media,staging,scsi,usb,infiniband,clk,pinctrl,iio} \
		drivers/net/{wireless,ethernet,can,dsa,phy,wan} sound fs net; do
		echo "$dir/*.c"
	done
}

artefact() { name_of "$KERNEL_VERSION"; }

build() {
	local top=linux-source-$KERNEL_SERIES
	fetch "$top=$KERNEL_VERSION" "$1"
	source_excludes | sed "s,^,$top/," >"$1/excludes"
	dpkg-deb --fsys-tarfile "$1"/"$top"_*.deb |
		tar -xO "./usr/src/$top.tar.xz" |
		xz -dc -T0 |
		tar -x -C "$1" --anchored --wildcards -X "$1/excludes"
	rm "$1/$top"_*.deb
	mv "$1/$top" "$1/linux"
}
