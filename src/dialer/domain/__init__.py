"""The rules of calling, pure: no clock, no chance, no input or output. Time and chance come in as arguments."""
