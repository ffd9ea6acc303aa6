"""The report on stored scores: Table 1, breakdowns, trade-offs, significance, and the videos side by side."""
