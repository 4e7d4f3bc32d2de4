"""Collections larger than memory: Parquet shards, a memory-mapped index over them, a catalog without vectors."""
