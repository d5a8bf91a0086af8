"""What a monitor costs: measured, as ratios in one run on one machine, against the budgets of the design."""
