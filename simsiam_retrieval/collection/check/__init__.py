"""What is wrong with a collection's images, and which of them to label first."""
