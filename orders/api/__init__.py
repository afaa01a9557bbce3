"""The API's doors to orders, one file an audience."""
