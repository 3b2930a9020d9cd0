"""`python -m dialer` is the command `dialer`."""

from dialer.cli import main

main()
