#!/bin/sh
# Writes the secrets of docker-compose.yml into secrets/. Files that exist are kept, so it can be run again. Passwords are
# random, unless POSTGRES_PASSWORD or REDIS_PASSWORD are set to those of an older installation (letters and digits).
set -eu
cd "$(dirname "$0")/.."
umask 077
mkdir -p secrets

write() {
  [ -s "secrets/$1" ] && return
  printf '%s' "$2" >"secrets/$1"
  # Readable for the users of the containers; the folder is closed.
  chmod 444 "secrets/$1"
  echo "wrote secrets/$1"
}

random() {
  od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

write postgres_password "${POSTGRES_PASSWORD:-$(random)}"
write redis_password "${REDIS_PASSWORD:-$(random)}"
write database_url "postgresql+psycopg://dialer:$(cat secrets/postgres_password)@postgres:5432/dialer"
write redis_url "redis://:$(cat secrets/redis_password)@redis:6379/0"
