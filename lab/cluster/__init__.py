"""The cluster on the lab's nodes: its storage, its database, its resources, and how it stands."""
