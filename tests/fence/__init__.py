"""fence_lab and fence_pve."""
