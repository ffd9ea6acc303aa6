"""From raw videos to training samples (paper 3.1)."""
