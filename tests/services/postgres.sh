#!/usr/bin/env bash
# A real PostgreSQL on 127.0.0.1 for tests, from the system's packages; its own cluster, nothing of the system's is touched.
#   postgres.sh install | start [PID] | stop | crash | freeze | thaw | restart | wipe | status | psql ...
#   postgres.sh standby PORT [PID] | promote
#     start PID  the server ends, and its data go, when the process PID has ended
#     crash      ends at once, as after a loss of power (pg_ctl stop -m immediate)
#     freeze     all its processes stand still (SIGSTOP) until thaw
#     standby    follows the server at PORT, which was started with PG_REPLICATION=on, until promote
# PG_PORT   port (default 25432)
# PG_DIR    data and log (default: /var/tmp/pulse-tests-postgres-$PG_PORT); user postgres must be able to reach it
# PG_TLS    folder with cert.pem and key.pem: it speaks TLS to who asks for it
# PG_FSYNC  on for one that survives a loss of power (default off: test data)
# User postgres and all others are trusted on 127.0.0.1; members of the group pw_users are asked for a password.
# As root the server runs as user postgres, else as who you are. Every step can be repeated.
set -euo pipefail
PG_PORT=${PG_PORT:-25432}
PG_DIR=${PG_DIR:-/var/tmp/pulse-tests-postgres-$PG_PORT}
PG_FSYNC=${PG_FSYNC:-off}
PG_WAIT=${PG_WAIT:-60}
PG_TLS=${PG_TLS:-}
PG_REPLICATION=${PG_REPLICATION:-off}
unset PGDATA PGHOST PGPORT PGUSER PGPASSWORD PGDATABASE PGOPTIONS
DATA=$PG_DIR/data

say() { printf 'postgres.sh: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }
bindir() { # of the newest server installed; nothing if there is none
  local dir
  for dir in $(printf '%s\n' /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/local/pgsql/bin | sort -rV); do
    [ -x "$dir/initdb" ] && { echo "$dir"; return; }
  done
  dir=$(command -v initdb || true)
  [ -z "$dir" ] || dirname "$dir"
}
as() { # as the server's user, from a folder it can stand in
  if [ "$(id -u)" = 0 ]; then (cd / && exec runuser -u postgres -- "$@"); else "$@"; fi
}

install() {
  BIN=$(bindir); [ -z "$BIN" ] || return 0
  local root=; [ "$(id -u)" = 0 ] || root=sudo
  # Debian would make and start a cluster on port 5432 by itself: say no before it does
  if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    $root mkdir -p /etc/postgresql-common
    printf 'create_main_cluster = false\nstart_conf = manual\n' | $root tee /etc/postgresql-common/createcluster.conf >/dev/null
  fi
  $root apt-get update -qq
  $root env DEBIAN_FRONTEND=noninteractive apt-get install -qqy --no-install-recommends -o Dpkg::Options::=--force-confold postgresql >/dev/null
  BIN=$(bindir); [ -n "$BIN" ] || die "no initdb after the install"
}

ready() { "$BIN/pg_isready" -q -h 127.0.0.1 -p "$PG_PORT" -U postgres; }
running() { as "$BIN/pg_ctl" -D "$DATA" status >/dev/null 2>&1; }
log() { tail -n 20 "$PG_DIR/postgres.log" >&2; }

prepare() { # a cluster, made once
  mkdir -p "$PG_DIR"
  [ "$(id -u)" != 0 ] || chown postgres "$PG_DIR"
  if [ ! -f "$DATA/PG_VERSION" ]; then
    rm -rf "$DATA.part"
    as "$BIN/initdb" -D "$DATA.part" -U postgres --auth=reject --auth-host=trust --encoding=UTF8 --locale=C.UTF-8 --no-sync \
      >"$PG_DIR/initdb.log" 2>&1 || { cat "$PG_DIR/initdb.log" >&2; rm -rf "$PG_DIR"; die "initdb failed"; }
    as tee "$DATA.part/pg_hba.conf" >/dev/null <<<'host replication all 127.0.0.1/32 trust
host all +pw_users 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust'
    mv "$DATA.part" "$DATA"
  fi
  local wal="wal_level = minimal
max_wal_senders = 0" tls=
  [ "$PG_REPLICATION" = off ] || wal="wal_level = replica
max_wal_senders = 4"
  if [ -n "$PG_TLS" ]; then
    rm -f "$DATA/server.key"
    (umask 077; as tee "$DATA/server.key" <"$PG_TLS/key.pem" >/dev/null)
    as tee "$DATA/server.crt" <"$PG_TLS/cert.pem" >/dev/null
    tls="ssl = on"
  fi
  # at each start, so that another port or PG_FSYNC counts
  as tee "$DATA/postgresql.auto.conf" >/dev/null <<<"listen_addresses = '127.0.0.1'
port = $PG_PORT
unix_socket_directories = ''
fsync = $PG_FSYNC
full_page_writes = $PG_FSYNC
max_connections = 100
$wal
$tls
min_wal_size = 32MB
max_wal_size = 128MB
max_locks_per_transaction = 256
shared_buffers = 128MB"
}

start() { # prints the address
  mkdir -p "$PG_DIR"
  exec 9>"$PG_DIR.lock"; flock 9
  prepare
  if ! running; then
    # something else on this port would make pg_isready lie
    ! (exec 3<>"/dev/tcp/127.0.0.1/$PG_PORT") 2>/dev/null || die "port $PG_PORT is taken by another program"
    as "$BIN/pg_ctl" -D "$DATA" -l "$PG_DIR/postgres.log" -W start >/dev/null 9>&- || { log; die "start failed"; }
  fi
  local until=$((SECONDS + PG_WAIT))
  until ready; do [ $SECONDS -lt $until ] || { log; die "not ready after $PG_WAIT s"; }; sleep 0.05; done
  if [ -n "${1:-}" ]; then
    (exec 9>&-; exec setsid "$0" watch "$1" >/dev/null 2>&1 </dev/null) &
  fi
  echo "postgresql://postgres@127.0.0.1:$PG_PORT/postgres"
}

standby() { # of the server at this port
  [ ! -e "$PG_DIR" ] || die "$PG_DIR is there"
  mkdir -p "$PG_DIR"; [ "$(id -u)" != 0 ] || chown postgres "$PG_DIR"
  as "$BIN/pg_basebackup" -h 127.0.0.1 -p "$1" -U postgres -D "$DATA" -X stream -c fast
  as touch "$DATA/standby.signal"
  as tee -a "$DATA/postgresql.conf" >/dev/null <<<"primary_conninfo = 'host=127.0.0.1 port=$1 user=postgres'"
  PG_REPLICATION=on start "${2:-}"
}

signal() { # which, to all its processes
  local first; first=$(as head -n 1 "$DATA/postmaster.pid")
  local all; all=$(ps -o pid= --ppid "$first")
  kill "-$1" "$first" $all
}

stop() { # how
  BIN=$(bindir)
  # frozen it would not stop; where nothing runs there is nobody to wake
  [ ! -d "$DATA" ] || signal CONT 2>/dev/null || true
  [ -n "$BIN" ] && [ -d "$DATA" ] && running || return 0
  as "$BIN/pg_ctl" -D "$DATA" -m "$1" -w stop >/dev/null
}

case ${1:-} in
  install) install ;;
  start) install; start "${2:-}" ;;
  stop) stop fast ;;
  crash) stop immediate ;;
  freeze) signal STOP ;;
  thaw) signal CONT ;;
  standby) install; standby "$2" "${3:-}" ;;
  promote) install; as "$BIN/pg_ctl" -D "$DATA" -w promote >/dev/null ;;
  restart) stop fast; install; start ;;
  wipe) stop immediate; rm -rf "$PG_DIR" "$PG_DIR.lock" ;;
  watch) while kill -0 "$2" 2>/dev/null; do sleep 0.5; done; "$0" wipe ;;
  status)
    BIN=$(bindir)
    [ -n "$BIN" ] || { echo "not installed"; exit 4; }
    if [ -d "$DATA" ] && running && ready; then echo "running on port $PG_PORT ($("$BIN/postgres" --version))"; else echo "not running"; exit 3; fi ;;
  psql) shift; install; exec "$BIN/psql" -X -h 127.0.0.1 -p "$PG_PORT" -U postgres "$@" ;;
  *) sed -n '2,17p' "$0" >&2; exit 64 ;;
esac
