# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# PCI devices in sysfs.  Sourced by bind and unbind.

PCI=/sys/bus/pci

# Prints the address with its domain; ends the script if there is no such device.
find_device() {
	local bdf=${1,,}
	[[ $bdf == ????:* ]] || bdf=0000:$bdf
	[[ $bdf =~ ^[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$ ]] ||
		die "'$1' is no PCI address, which looks like 0000:00:10.0"
	[[ -d $PCI/devices/$bdf ]] ||
		die "there is no PCI device $bdf; 'lspci -D' lists what there is"
	echo "$bdf"
}

# Prints the driver of a device; nothing if it has none.
driver_of() {
	if [[ -e $PCI/devices/$1/driver ]]; then
		basename -- "$(readlink -- "$PCI/devices/$1/driver")"
	fi
}

need_root() {
	((EUID == 0)) || die "drivers are bound by root: run this with sudo"
}

# Unbinds a device from its driver.  A VFIO driver waits until nobody has the device open.
release_device() {
	echo "$1" >"$PCI/devices/$1/driver/unbind" || die "driver $(driver_of "$1") keeps $1"
}
