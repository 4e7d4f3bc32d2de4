"""From a path to pixels: listing files, safe decoding, thumbnails, mounts, worker processes, tar archives."""
