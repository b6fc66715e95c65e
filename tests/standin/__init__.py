"""The parts of tests/resolver.py, the local stand-in for the service: one concept per file."""
