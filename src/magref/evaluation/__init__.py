"""How good videos are: measures for the synthetic world, and what is measured with them."""
