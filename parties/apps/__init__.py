"""The Flower ClientApps that run in a job's worker process."""
