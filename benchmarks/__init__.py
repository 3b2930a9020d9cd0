"""What `make bench` measures beside `dialer bench`: Dialer next to other ways to do the same work."""
