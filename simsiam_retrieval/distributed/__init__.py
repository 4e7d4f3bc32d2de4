"""Embedding on a cluster: images from files, archives and tables, anywhere -> Parquet shards of a collection."""
