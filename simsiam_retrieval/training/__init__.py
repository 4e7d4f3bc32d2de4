"""The loop round the methods: configuration, schedule, checkpoints, the run folder."""
