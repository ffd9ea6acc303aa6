"""The metrics: each takes a decoded video and its case, and gives values or says why there are none."""
