"""The only room that knows SQL and Redis. Postgres is the truth; Redis says who holds a slot now."""
