# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2154,SC2054 # variables of vm; commas belong to QEMU
#
# A network card whose virtual functions can be passed through, and a network for it: a hub in
# QEMU that the card shares with a third party, a virtio-net card of the same machine.  The hubs of
# a pair are one network, besides the one that joins the machines.  Sourced by vm.

# nic_arguments NAME: adds to 'arguments'.
nic_arguments() {
	# Above all addresses that QEMU chooses, so the machine's other cards have the first names.
	local number=${HOST_NUMBER[$1]:-1} socket
	arguments+=(
		-netdev hubport,id=nic,hubid=0
		-device pcie-root-port,id=rp2,chassis=2,addr=14.0
		-device "igb,bus=rp2,netdev=nic,mac=52:54:00:00:01:0$number"
		-netdev hubport,id=peer,hubid=0
		-device "virtio-net-pci,netdev=peer,romfile=,addr=15.0,mac=52:54:00:00:02:0$number"
	)
	((${#machines[@]} > 1)) || return 0
	# As in link.sh.
	socket=stream,id=nics,addr.type=unix,addr.path=nics
	if [[ $1 == target ]]; then
		socket+=,server=on
	else
		socket+=,server=off,reconnect-ms=100
	fi
	arguments+=(-netdev "$socket" -netdev hubport,id=other,hubid=0,netdev=nics)
}
