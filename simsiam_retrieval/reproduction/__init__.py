"""The SimSiam paper's tables as sets of ordinary runs: rows, scales, running, measuring and printing."""
