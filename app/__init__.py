"""The web page: find similar images, watch training. Stands outside the package and looks in; no torch here."""
