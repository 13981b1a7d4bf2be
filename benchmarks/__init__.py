"""Benchmarks: ``python -m benchmarks`` runs them, ``--only align`` some of them."""
