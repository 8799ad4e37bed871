# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034 # setup reads the variables
#
# What the virtual machine boots: the stock kernel, an initramfs and the disk
# image; and modules for a Linux guest of QEMU in it.  A run never writes to any
# of them.

title='VM image'
after=(rootfs qemu7)

# The parts of the stock kernel's modules that go in.  All 4500 of them would
# make the depmod at every boot slow, and most have no device here.
image_modules=(
	arch crypto lib virt
	drivers/vfio drivers/iommu drivers/virtio drivers/vhost drivers/vdpa
	drivers/block/virtio_blk drivers/block/loop drivers/char/hw_random
	drivers/net/virtio_net drivers/net/net_failover drivers/net/tun drivers/net/tap
	drivers/net/veth drivers/net/dummy drivers/net/mdio drivers/net/phy/libphy
	drivers/net/ethernet/intel/igb drivers/net/ethernet/intel/igbvf
	drivers/net/ethernet/intel/e1000e drivers/i2c/algos drivers/dca drivers/ptp
	drivers/pps drivers/hwmon/hwmon drivers/uio/uio drivers/uio/uio_pci_generic
	fs/ext4 fs/jbd2 fs/mbcache fs/9p fs/netfs fs/overlayfs fs/fuse fs/configfs
	net/9p net/core/failover net/bridge net/llc net/802
)

# Loaded before there is a root file system.
boot_modules=(virtio_blk ext4 overlay 9p 9pnet_virtio)

# A program in a guest reaches the edu that is passed through to it by these.
guest_modules=(uio_pci_generic)

# A guest uses the 82576's virtual function that is passed through to it by these.
nic_guest_modules=(igbvf)

artefact() {
	name_of "$RELEASE" "$KERNEL_VERSION" "$(basename "$(result rootfs)")" \
		"$(basename "$(result qemu7)")" \
		"$(cat "$SCRIPTS/vm.d/early-init")" "${guest_modules[*]}" "${nic_guest_modules[*]}"
}

# unpack_kernel DIR: unpacks the kernel's packages.  How many there are, and which file is in
# which, depends on the release.
unpack_kernel() {
	local part deb wanted
	wanted="/(vmlinuz|modules\.|kernel/($(IFS='|' && echo "${image_modules[*]}"))(/|\.ko))"
	for part in image binary modules base; do
		part=linux-$part-$RELEASE
		if ! apt_own apt-cache show "$part=$KERNEL_VERSION" >/dev/null 2>&1; then
			continue
		fi
		fetch "$part=$KERNEL_VERSION" "$1"
	done
	for deb in "$1"/*.deb; do
		dpkg-deb --fsys-tarfile "$deb" >"$1/files.tar"
		# A package may have none of them: grep's status is 1 then.
		tar -t -f "$1/files.tar" >"$1/all"
		grep -E "$wanted" "$1/all" >"$1/wanted" || (($? == 1))
		tar -x -f "$1/files.tar" -C "$1" --no-recursion --verbatim-files-from -T "$1/wanted"
		rm "$deb" "$1/files.tar" "$1/all" "$1/wanted"
	done
}

# put_modules ROOT DIR MODULE...: copies modules and what they need to DIR, and
# lists them in DIR/order in the order of need.
put_modules() {
	local root=$1 dir=$2 module
	mkdir -p "$dir"
	for module in "${@:3}"; do
		modprobe -d "$root" -S "$RELEASE" --show-depends "$module"
	done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' |
		while read -r module; do
			cp "$module" "$dir/"
			basename "$module"
		done >"$dir/order"
	[[ -s $dir/order ]] || die "modprobe lists no modules for $dir"
}

# The initramfs: busybox, some modules, and early-init.
make_initramfs() {
	local root=$1 out=$2 dir=$3
	mkdir -p "$dir"/{bin,dev,proc,sys,lower,rw,root}
	cp "$root/bin/busybox" "$dir/bin/"
	install -m 755 "$SCRIPTS/vm.d/early-init" "$dir/init"
	put_modules "$root" "$dir/modules" "${boot_modules[@]}"
	(cd "$dir" && find . | cpio -o -H newc --quiet) >"$out"
}

build() {
	local files=$1/files root=$1/root kernel
	mkdir "$files"
	unpack_kernel "$files"
	kernel=$(find "$files" -name 'vmlinuz*' | head -n 1)
	[[ $kernel ]] || die "the packages of $RELEASE hold no kernel"
	mv "$kernel" "$1/vmlinuz"
	# Decompressed once here instead of at every boot.
	find "$files" -name '*.ko.xz' -print0 | xargs -0 -r -P "$(nproc)" -n 50 xz -d

	as_root cp -al "$(result rootfs)/root" "$root"
	as_root mkdir -p "$root/opt"
	as_root cp -al "$(result qemu7)/root" "$root/opt/qemu7"
	as_root mkdir -p "$root/usr/lib/modules"
	as_root cp -r --no-preserve=ownership "$(find "$files" -type d -path "*/modules/$RELEASE")" \
		"$root/usr/lib/modules/"
	as_root depmod -b "$root" "$RELEASE"
	make_initramfs "$root" "$1/initramfs" "$1/early"
	put_modules "$root" "$1/guest-modules" "${guest_modules[@]}"
	((${#nic_guest_modules[@]} == 0)) ||
		put_modules "$root" "$1/nic-guest-modules" "${nic_guest_modules[@]}"

	# A read-only image needs no journal and no room to spare.
	as_root mke2fs -q -t ext4 -O ^has_journal -m 0 -L rvfio -d "$root" "$1/root.ext4" \
		"$(as_root du -sm --apparent-size "$root" | awk '{ print int($1 * 1.25) + 64 }')M"
	remove_tree "$root"
	remove_tree "$files"
	remove_tree "$1/early"
}
