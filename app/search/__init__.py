"""The state of a search in the app: address, filter form, uploaded queries, selected images."""
