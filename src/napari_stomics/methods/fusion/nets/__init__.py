"""Trained fusion: small graph networks on component scores, sparse, seeded, cancellable.

All train on one thread: sums over several come in another order, and a network
that is trained for hundreds of epochs carries such differences far. torch is
imported by the functions that use it.
"""
