"""Cases of other benchmarks, read into the own format; pictures stay names until they are collected."""
