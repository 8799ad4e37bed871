# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034,SC2153 # setup reads the variables
#
# The kernel tree, prepared for Rust modules.  The headers package alone will
# not do: it has no Rust metadata.

title='kernel tree'
after=(toolchain source)

artefact() { name_of "$RELEASE" "$KERNEL_VERSION" "$RUSTC_VERSION"; }

# The compiler's name is part of the configuration.
kernel_cc() {
	sed -n 's/^CONFIG_CC_VERSION_TEXT="\([^ "]*\).*/\1/p' "${KERNEL_CONFIG:-/dev/null}"
}

# Prints a configuration without the options that only name versions of tools. These change with
# every update of the suite, and change nothing in a module. The version of rustc does, and stays.
without_tool_versions() {
	grep -vE '^CONFIG_(CC_VERSION_TEXT|GCC_VERSION|CLANG_VERSION|AS_VERSION|LD_VERSION|LLD_VERSION|PAHOLE_VERSION|BINDGEN_VERSION_TEXT)=' "$1"
}

build() {
	local dir=$1/linux options release
	options=("KERNELRELEASE=$RELEASE" "CC=$(kernel_cc)")

	# Hard links: the unpacked source stays as it is, since every file that
	# the build changes is written anew.
	cp -al "$(result "${FROM[source]}")/linux" "$dir"
	dpkg-deb --fsys-tarfile "$(dirname "$KERNEL_CONFIG")"/linux-headers-*.deb |
		tar -xO --wildcards '*/Module.symvers' >"$dir/Module.symvers"
	cp "$KERNEL_CONFIG" "$dir/.config"

	in_toolchain "$dir" make "${options[@]}" olddefconfig
	diff <(without_tool_versions "$KERNEL_CONFIG") <(without_tool_versions "$dir/.config") ||
		die "'make olddefconfig' changed the .config of $RELEASE (difference above): the tree would not match the kernel"
	in_toolchain "$dir" make -j"$(nproc)" "${options[@]}" modules_prepare

	release=$(cat "$dir/include/config/kernel.release")
	[[ $release == "$RELEASE" ]] ||
		die "the prepared tree calls itself $release instead of $RELEASE"
	grep -q "\"$RELEASE\"" "$dir/include/generated/utsrelease.h" ||
		die "the version string of modules would not be $RELEASE"
	[[ -e $dir/rust/libkernel.rmeta ]] ||
		die "'make modules_prepare' made no Rust metadata"
}
