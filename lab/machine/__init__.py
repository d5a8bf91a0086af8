"""The virtual hardware of a two-node cluster on one machine: nodes, networks, storage and a hypervisor's API, in one namespace."""
