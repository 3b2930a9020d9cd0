"""What an operator can ask for, one file a noun. No web framework and no SQL here."""
