"""Embedding on a Ray cluster: local or remote files, archives and tables -> Parquet shards of a collection."""
