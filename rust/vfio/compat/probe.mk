# SPDX-License-Identifier: GPL-2.0-only
#
# Asks the tree in use for an item of its crates: NAME.flags, from NAME/present.rs and
# NAME/absent.rs, holds the flags that tell the compiler what was found.
#
# Only rustc's verdict counts. So a tree that has neither, or a broken compiler, ends the build
# with what rustc says of both, and is not taken for one that lacks the item.

quiet_cmd_rvfio_probe = PROBE   $(quiet_modtag) $@
      cmd_rvfio_probe = \
	probe() { $(rust_common_cmd) --cap-lints allow \
		--emit=metadata=$(@D)/.tmp_probe_$*.rmeta $(src)/$(rvfio-probes)$*/$$1.rs; }; \
	log=$(@D)/.tmp_probe_$*.log; \
	: >$@; \
	if probe present 2>$$log; then \
		echo '--cfg=kernel_has="$*"' >$@; \
	elif ! probe absent 2>>$$log; then \
		echo "the kernel tree has neither side of $*:" >&2; cat $$log >&2; exit 1; \
	fi

$(obj)/$(rvfio-probes)%.flags: $(src)/$(rvfio-probes)%/present.rs \
		$(src)/$(rvfio-probes)%/absent.rs FORCE
	+$(call if_changed_dep,rvfio_probe)
