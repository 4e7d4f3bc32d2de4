"""Basics that every part of the package uses: errors, paths, atomic files, progress, command lines."""
