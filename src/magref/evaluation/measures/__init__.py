"""What a video of the synthetic world shows, measured from its pixels alone."""
