"""Every hot path beside its peer or its floor, measured in one run: `python -m benchmarks NAME --json`."""
