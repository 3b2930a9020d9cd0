"""What an operator can do, one file per noun. No web framework and no SQL here."""
