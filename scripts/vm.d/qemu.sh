# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2154,SC2054 # variables of vm; commas belong to QEMU
#
# The virtual machine as QEMU arguments.  Sourced by vm.

# A /dev/kvm alone proves nothing: inside another virtual machine it can exist and fail at the
# first instruction.
has_kvm() {
	grep -qwE 'vmx|svm' /proc/cpuinfo && [[ -r /dev/kvm && -w /dev/kvm ]]
}

share_arguments() {
	local tag=$1 path=$2 readonly=${3:-off}
	# A comma in a value is written twice.
	arguments+=(-fsdev "local,id=$tag,path=${path//,/,,},security_model=none,multidevs=remap,readonly=$readonly"
		-device "virtio-9p-pci,fsdev=$tag,mount_tag=$tag")
}

# monitor_arguments NAME: adds QEMU's monitor (QMP) as a port that the guest can open.  QEMU
# cannot join the two, so there is a socket between them.
monitor_arguments() {
	arguments+=(
		-chardev "socket,id=monitor,path=monitor.$1,server=on,wait=off"
		-mon chardev=monitor,mode=control
		-chardev "socket,id=monitor-port,path=monitor.$1,server=off"
		-device virtserialport,chardev=monitor-port,name=rvfio.monitor
	)
}

# machine_arguments NAME: sets 'arguments' and 'toolchain_binds'.
machine_arguments() {
	local name=$1 kernel_log i
	kernel_log=$(log_of "$name")
	arguments=(-nodefaults -no-user-config -display none -no-reboot
		-pidfile "$run/$name/pid" -m "${RVFIO_VM_MEM:-$memory}")
	if [[ $count_instructions ]]; then
		# A second processor would take turns with the first, and its idle loop would count.
		arguments+=(-machine q35 -accel tcg,thread=single -icount shift=0 -cpu max -smp 1)
	elif has_kvm; then
		arguments+=(-machine q35,kernel-irqchip=split -accel kvm -cpu host -smp 2)
	else
		# With these features kernel and C library copy and clear memory by string
		# instructions, a byte at a time, which takes TCG several times as long as loops of
		# moves: copies from and to user space seven times.
		arguments+=(-machine q35 -accel tcg,thread=multi -cpu "max,erms=off,fsrm=off" -smp 2)
	fi
	# no_timer_check: the kernel's test of the timer at boot fails when this
	# machine is busy and the emulated one gets too little of it.
	# The IOMMU must come before the devices it is for.  The two edu devices that most tests
	# take differ in the addresses that they reach: 28 bits (QEMU's default) and 64.  The
	# other two come after them, by address too, and differ in the same way.
	arguments+=(
		-device intel-iommu,intremap=on,device-iotlb=on
		-device edu,addr=10.0
		-device edu,addr=11.0,dma_mask=0xffffffffffffffff
		# Devices that their bus can reset.
		-device pcie-root-port,id=rp0,addr=12.0
		-device edu,bus=rp0,id=edu2
		-device pcie-root-port,id=rp1,chassis=1,addr=13.0
		-device edu,bus=rp1,id=edu3,dma_mask=0xffffffffffffffff
		# Devices of which a driver for tests traps some pages.
		-object memory-backend-ram,id=ivshmem,size=8M,share=on
		-device ivshmem-plain,memdev=ivshmem,addr=18.0
		# Devices with a function-level reset. The first has trapped pages in other tests.
		-device nvme,serial=rvfio0,addr=19.0
		-device nvme,serial=rvfio1,addr=1a.0
		-kernel "$RVFIO_IMAGE/vmlinuz" -initrd "$RVFIO_IMAGE/initramfs"
		-append "console=ttyS0 ignore_loglevel panic=-1 intel_iommu=on iommu=pt oops=panic no_timer_check $kernel_arguments"
		-serial "file:${kernel_log//,/,,}"
		-drive "if=none,id=root,file=${RVFIO_IMAGE//,/,,}/root.ext4,format=raw,readonly=on"
		-device virtio-blk-pci,drive=root
		-device virtio-serial-pci
		-chardev stdio,id=terminal,signal=off
	)
	if [[ $mode == shell ]]; then
		arguments+=(-device virtconsole,chardev=terminal)
	else
		arguments+=(-device virtserialport,chardev=terminal,name=rvfio.output)
	fi
	((${#machines[@]} == 1)) || link_arguments "$name"
	[[ ! $nic ]] || nic_arguments "$name"
	[[ ! $monitor ]] || monitor_arguments "$name"
	share_arguments control "$run/$name/control"
	share_arguments src "$CLONE" on
	toolchain_binds=(--bind "$(dirname "$kernel_log")")
	for i in "${!shares[@]}"; do
		share_arguments "share$i" "${shares[i]}"
		toolchain_binds+=(--bind "${shares[i]}")
	done
	arguments+=("${extra[@]}")
}
