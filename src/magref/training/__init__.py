"""Training: today the embedded model's autoencoder and transformer."""
