"""What a collection stores: the SQLite catalog, Parquet shards, checksums, locks."""
