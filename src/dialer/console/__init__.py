"""The operators' console: pages rendered on the server, at `/console`. It shows what the API says, with its words."""
