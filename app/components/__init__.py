"""What pages are made of: grids, galleries, charts, the map and the labelling component."""
