"""Tests, mirroring the packages; tests/system runs real consortia."""
