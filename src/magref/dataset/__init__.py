"""Training samples on disk: one format for curation, the synthetic world and a person's own material."""
