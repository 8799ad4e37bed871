# SPDX-License-Identifier: GPL-2.0-only
#
# Targets for people. Kbuild says how the modules are built. A target that does
# more than call one tool is a script.

.DEFAULT_GOAL := modules
MAKEFLAGS += --no-print-directory
Q := $(if $(filter 1,$(V)),,@)

# With KDIR, the compilers of this machine build the modules against that tree.
# Without it the set-up brings both.
ifdef KDIR
override KDIR := $(abspath $(KDIR))
kbuild = scripts/check-kdir $(KDIR) && $(MAKE) -C $(KDIR) M=$(CURDIR)
install = $(kbuild) modules_install
else
install = INSTALL_MOD_PATH='$(INSTALL_MOD_PATH)' scripts/install
kbuild = scripts/setup -q && scripts/kbuild V=$(V)
endif

##@ Building

.PHONY: all
all: modules tools		## modules and tools

.PHONY: modules
modules:			## rvfio.ko and the drivers (KDIR=... for another kernel tree)
	+$(Q)$(kbuild) modules

.PHONY: install
install: modules		## install the modules (INSTALL_MOD_PATH=... below another root)
	+$(Q)$(install)

.PHONY: tools
tools:				## vfio-migrate, in tools/target/release
	$(Q)scripts/setup -q
	$(Q)scripts/cargo build --release --locked -p vfio-migrate

.PHONY: setup
setup:				## only set up: toolchain, kernel tree, virtual machine
	$(Q)scripts/setup

.PHONY: clean
clean:				## delete what builds and tests have made in this tree
	$(Q)scripts/clean

##@ Running

.PHONY: demo
demo:				## migrate a device in a virtual machine, then a guest of QEMU 11
	$(Q)scripts/demo

.PHONY: demo-qemu7
demo-qemu7:			## migrate a guest of QEMU 7.2 in a virtual machine
	$(Q)scripts/demo qemu7

.PHONY: demo-mdev
demo-mdev:			## migrate a mediated device to another in a virtual machine
	$(Q)scripts/demo mdev

.PHONY: demo-nic
demo-nic:			## migrate a Linux guest with a NIC's virtual function between two hosts
	$(Q)scripts/demo nic

.PHONY: demo-security
demo-security:			## attack the host through a device, with stock vfio-pci and with rvfio
	$(Q)scripts/demo-security

.PHONY: bench
bench:				## run a benchmark (B=NAME; without it, list them)
	$(Q)scripts/bench $(B)

##@ Checking

.PHONY: check
check:				## all checks and tests (T=NAME for one group of them, T=quick after an edit)
	$(Q)scripts/check $(T)

.PHONY: check-debug
check-debug:			## tests on a kernel with KASAN, lockdep, faults and iommufd (T=NAME for one group)
	$(Q)RVFIO_KERNEL=debug scripts/check $(T)

.PHONY: check-next
check-next:			## build with the newest kernel of Debian sid and experimental, and try it
	$(Q)scripts/check-next

.PHONY: lint
lint:				## format, clippy, shellcheck, licence lines
	$(Q)scripts/setup -q
	$(Q)scripts/lint

.PHONY: fuzz
fuzz:				## fuzz the migration core (T=NAME for one target, FUZZ_SECONDS=600 for each)
	$(Q)scripts/setup -q toolchain
	$(Q)scripts/fuzz $(T)

.PHONY: fuzz-vm
fuzz-vm:			## attack devices in a virtual machine (SECONDS=600 for each, SEED=... to repeat a run)
	$(Q)RVFIO_FUZZ_SECONDS=$(or $(SECONDS),600) RVFIO_SEED=$(SEED) scripts/check vm-fuzz

.PHONY: coverage
coverage:			## share of the migration core's lines that host tests and fuzz corpus run
	$(Q)scripts/setup -q toolchain
	$(Q)scripts/coverage

.PHONY: help
help:				## this list
	@awk -F ':[^#]*## *' \
		'/^##@/ { print "\n" substr($$0, 5) ":" } \
		/^[a-z0-9-]+:.*##/ { printf "  make %-13s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "Groups of 'make check': $$(scripts/check --list | xargs)"
	@echo "Groups of 'make check-debug': $$(RVFIO_KERNEL=debug scripts/check --list | xargs)"
	@echo "Variables: V=1 (show commands), RVFIO_CACHE (default ~/.cache/rvfio), RVFIO_MIRROR, RVFIO_RELEASE"
