"""What the runs of the two-node lab have shown: kept as JSON, told as a Markdown table and as pictures."""
