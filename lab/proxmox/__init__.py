"""A stand-in for the API of a Proxmox VE cluster, which answers as the real one does, its unpleasant answers included."""
