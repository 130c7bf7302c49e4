"""Cryptographic protocols as pure functions: packed encryption, masked sums, sealing, noise. No sockets, no policy."""
