"""Handing a collection over to vector databases and Parquet files; one file a target."""
