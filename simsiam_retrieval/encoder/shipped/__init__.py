"""The encoder shipped with the package; CARD.md says where it comes from and what it is worth."""
