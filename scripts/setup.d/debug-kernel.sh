# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034,SC2153 # setup reads the variables
#
# A small kernel with the checkers that a distribution's cannot afford, and with
# what the stock one is built without: iommufd.  The tree is the one to build modules
# against; 'install' holds the kernel and its modules.

title='debug kernel'
after=(debug-toolchain debug-source)

debug_config=$CLONE/tools/testing/vm/debug/debug.config
DEBUG_RELEASE=${RELEASE:+${RELEASE%%-*}-rvfio-debug}

artefact() {
	name_of "$DEBUG_RELEASE" "$KERNEL_VERSION" "$RUSTC_VERSION" "$(grep -v '^# [^C]' "$debug_config")"
}

kernel_cc() { echo clang; }

kernel_release() { echo "$DEBUG_RELEASE"; }

# check_config FILE: 'make olddefconfig' drops silently what lacks another option.
check_config() {
	local line name lost=()
	while read -r line; do
		grep -qxF -- "$line" "$1" && continue
		name=${line%%=*}
		lost+=("$line (it is: $(grep -E "^(# )?${name}[= ]" "$1" || echo "not known, or hidden"))")
	done < <(grep '^CONFIG_' "$debug_config")
	((${#lost[@]} == 0)) || {
		printf 'not in the configuration: %s\n' "${lost[@]}" >&2
		die "Kconfig refused ${#lost[@]} of the options in ${debug_config#"$CLONE"/} (see above)"
	}
}

build() {
	local dir=$1/linux install=$1/install kmake
	kmake=(make "KERNELRELEASE=$DEBUG_RELEASE" "CC=$(kernel_cc)" -j"$(nproc)")

	# Hard links: every file that the build changes is written anew.
	cp -al "$(result debug-source)/linux" "$dir"
	cp "$debug_config" "$1/debug.config"
	in_toolchain_of debug-toolchain "$dir" "${kmake[@]}" KCONFIG_ALLCONFIG="$1/debug.config" allnoconfig
	check_config "$dir/.config"
	in_toolchain_of debug-toolchain "$dir" "${kmake[@]}" bzImage modules
	in_toolchain_of debug-toolchain "$dir" "${kmake[@]}" INSTALL_MOD_PATH="$install" \
		INSTALL_MOD_STRIP=1 modules_install
	rm -f "$install/lib/modules/$DEBUG_RELEASE"/{build,source}
	cp "$dir/arch/x86/boot/bzImage" "$install/vmlinuz"
	cp "$dir"/samples/vfio-mdev/mtty.{c,ko} "$1/"

	[[ $(cat "$dir/include/config/kernel.release") == "$DEBUG_RELEASE" ]] ||
		die "the kernel does not call itself $DEBUG_RELEASE"
	[[ -e $dir/rust/libkernel.rmeta ]] || die "the build made no Rust metadata"
	# Linking has left these; building modules needs none of them.
	find "$dir" \( -name '*.o' -o -name '*.a' -o -name 'vmlinux*' \) \
		! -path '*/scripts/*' ! -path '*/tools/*' ! -path "$dir/vmlinux" -type f -delete
}
