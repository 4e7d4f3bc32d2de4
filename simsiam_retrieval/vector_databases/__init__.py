"""Copying a collection to vector databases and Parquet files; one module per target."""
