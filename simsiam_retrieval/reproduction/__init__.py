"""The SimSiam paper's tables as sets of ordinary runs: rows, scales, who runs and measures them, what is printed."""
