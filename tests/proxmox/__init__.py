"""The stand-in for Proxmox VE."""
