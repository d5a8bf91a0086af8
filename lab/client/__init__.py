"""The client of the lab: it writes through one address on a fixed schedule, and knows afterwards what became of every row.

`python3 -m lab.client --host 10.0.5.20 --out DIRECTORY --seconds 120` writes, and probes the port beside it.
`python3 -m lab.client mark DIRECTORY "both paths cut"` notes in the ledger what is done to the cluster now.
`python3 -m lab.client audit DIRECTORY --host 10.0.5.20` reads everything back, and judges.
"""

from __future__ import annotations
