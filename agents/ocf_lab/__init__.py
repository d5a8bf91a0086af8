"""Mechanics of the lab agents: block devices, storage probes, PostgreSQL.  The policy is in the agents themselves."""
