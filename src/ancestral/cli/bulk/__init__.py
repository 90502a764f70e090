"""`ancestral bulk`: large jobs as Parquet parts, on any number of processes and machines."""
