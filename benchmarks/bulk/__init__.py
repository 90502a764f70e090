"""Bulk jobs: what a job costs on a thousand machines."""
