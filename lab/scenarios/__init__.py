"""The scenarios: what is done to the cluster, how long it is looked at, and how it is made whole again.

`catalogue` is the table of them; `runner.run` makes one run and keeps what was seen; `agenda` says which runs are wanted, in which order.
"""

from __future__ import annotations
