# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2154 # the variables are those of vm
#
# The network between two machines: a socket in the run's directory.  No address of this machine
# is part of it.  Sourced by vm.

# The last byte of each machine's address, and of its network card's.
declare -rA HOST_NUMBER=([source]=1 [target]=2)
readonly LINK_NETWORK=10.0.0

# link_arguments NAME: adds to 'arguments'.
link_arguments() {
	# The path is relative, since a long one does not fit into a socket's address.  The
	# source reconnects, so a machine that boots again finds the other.
	local socket=stream,id=link,addr.type=unix,addr.path=link
	if [[ $1 == target ]]; then
		socket+=,server=on
	else
		socket+=,server=off,reconnect-ms=100
	fi
	arguments+=(-netdev "$socket"
		-device "virtio-net-pci,netdev=link,romfile=,mac=52:54:00:00:00:0${HOST_NUMBER[$1]}")
}

# fill_link NAME: writes what a machine must know of the network.
fill_link() {
	local name
	echo "$LINK_NETWORK.${HOST_NUMBER[$1]}/24" >"$run/$1/control/address"
	for name in "${machines[@]}"; do
		echo "$LINK_NETWORK.${HOST_NUMBER[$name]} $name"
	done >"$run/$1/control/hosts"
}
