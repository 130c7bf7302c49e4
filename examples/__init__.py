"""A consortium on one machine: the demo, its contracts, jobs and data, and a script to start from."""
