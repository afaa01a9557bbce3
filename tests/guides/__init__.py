"""The guides: their pictures, their words and their examples stay true."""
