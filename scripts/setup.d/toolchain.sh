# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034,SC2153 # setup reads the variables
#
# The toolchain tree: the compilers that the kernel was built with, and the
# QEMU that runs the virtual machine.

title='toolchain tree'
after=(archive)

toolchain_packages=(
	# Rust for the kernel: bindgen and the library's source are needed too.
	rust-src rustfmt rust-clippy cargo bindgen
	# The rest of a kernel build.
	gcc-14 gcc g++ make flex bison bc libelf-dev libdw-dev libssl-dev
	kmod cpio rsync xz-utils zstd pahole pkgconf
	# The kernel's own VFIO selftests.
	uuid-dev
	# Coverage: the tools of the compiler's own LLVM.
	llvm
	# Tests and tools.
	python3-minimal python3-pytest shellcheck e2fsprogs busybox-static
	ca-certificates
)

artefact() { name_of "$RUSTC_VERSION" "$QEMU_VERSION" "$RUSTC_SUITE"; }

build() {
	local backports=qemu-system-x86 packages have want
	packages=$(IFS=, && echo "${toolchain_packages[*]}")
	if [[ $RUSTC_SUITE == "$BACKPORTS" ]]; then
		backports+=" rustc rust-src rustfmt rust-clippy cargo"
	else
		packages+=",rustc"
	fi
	bootstrap "$1/root" "$packages" "$backports"

	want=$(sed -n 's/^CONFIG_RUSTC_VERSION_TEXT="\(.*\)"/\1/p' "$KERNEL_CONFIG")
	have=$(as_root chroot "$1/root" rustc --version)
	[[ $have == "$want" ]] ||
		die "kernel $RELEASE was built with '$want', but the archive serves '$have'"
}
