"""Bulk jobs: what they cost on one machine, on Ray, and by simulation on a thousand machines."""
