"""magref-bench-synthetic: 120 cases in the paper's composition, of the synthetic world's held-out identities."""
