"""The systems that can make the benchmark's videos; `registry.py` names them."""
