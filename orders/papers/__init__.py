"""What is printed or saved: statements, pick lists, packing slips, labels. Words in the reader's language."""
