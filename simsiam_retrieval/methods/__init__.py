"""The learning methods: backbones, heads and losses; one file per method."""
