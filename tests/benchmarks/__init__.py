"""Programs of benchmarks/ that have to run unattended."""
