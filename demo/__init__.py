"""The demonstration campaign's files, and the script that builds them."""
