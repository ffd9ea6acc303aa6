"""Running curation: stages over many videos, with stops, failures and restarts."""
