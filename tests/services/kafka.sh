#!/usr/bin/env bash
# A real Apache Kafka (KRaft) on 127.0.0.1 for tests, from Maven jars.
#   kafka.sh install | start [PID] | stop | wipe | status | kill N | startnode N
#     start PID  the nodes end, and their data go, when the process PID has ended
#     kill N     kill -9 of one node; startnode N starts it again
# KAFKA_DIR   jars, data, logs and process ids (default: $XDG_CACHE_HOME/pulse-tests/kafka, below ~/.cache)
# KAFKA_PORT  port of the first broker (default 29092); broker i listens on KAFKA_PORT+i-1, its controller 100 above
# KAFKA_NODES 1 (default) or 3: with 3, three copies of which two must answer
# KAFKA_HEAP  heap of a node (default 256m)
# KAFKA_ADVERTISED  host:port that a single broker names to its clients, say that of a proxy (default: its own)
# KAFKA_TLS   folder with broker.pem (key and certificate) and ca.pem: brokers speak TLS (default: they do not)
# KAFKA_USER  name:password: brokers ask for it (SASL/PLAIN); a second user, guest, with the same password has no rights.
#             default: they ask for nothing
# KAFKA_MORE  more listeners of the first broker, each NAME:port:advertised, by spaces: who comes in there is sent to
#             127.0.0.1:advertised for all that follows, where a proxy may stand
# Every step can be repeated. Clusters of different KAFKA_PORT live side by side.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
KAFKA_DIR=${KAFKA_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/pulse-tests/kafka}
KAFKA_PORT=${KAFKA_PORT:-29092}
KAFKA_NODES=${KAFKA_NODES:-1}
KAFKA_HEAP=${KAFKA_HEAP:-256m}
KAFKA_USER=${KAFKA_USER:-}
KAFKA_MORE=${KAFKA_MORE:-}
KAFKA_TLS=${KAFKA_TLS:-}
KAFKA_WAIT=${KAFKA_WAIT:-90}
VERSION=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$HERE/kafka/pom.xml")
LIB=$KAFKA_DIR/lib-$VERSION
RUN=$KAFKA_DIR/run-$KAFKA_PORT
CLUSTER=kafkatestclusterAAAAAA
JVM=(-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.awt.headless=true)

say() { printf 'kafka.sh: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }
port() { echo $((KAFKA_PORT + $1 - 1)); }
cport() { echo $((KAFKA_PORT + 100 + $1 - 1)); }
nodes() { seq 1 "$KAFKA_NODES"; }

alive() { # node: its process id, if the process under it is ours
  local file=$RUN/n$1/pid pid
  [ -s "$file" ] || return 1
  pid=$(cat "$file")
  [ -r "/proc/$pid/cmdline" ] && tr '\0' ' ' <"/proc/$pid/cmdline" | grep -qF "$RUN/n$1/server.properties" && echo "$pid"
}

answers() { # node: can it be connected to, and has its log said that it serves?
  timeout 1 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1"' _ "$(port "$1")" 2>/dev/null &&
    tail -c +"$(($(cat "$RUN/n$1/from") + 1))" "$RUN/n$1/kafka.log" | grep -q 'Kafka Server started'
}

install() {
  [ -f "$LIB/kafka.jsa" ] && return 0
  mkdir -p "$KAFKA_DIR"
  exec 8>"$KAFKA_DIR/install.lock"
  flock 8
  [ -f "$LIB/kafka.jsa" ] && return 0
  if ! command -v java >/dev/null || ! command -v mvn >/dev/null; then
    local root=; [ "$(id -u)" = 0 ] || root=sudo
    $root apt-get update -qq
    $root env DEBIAN_FRONTEND=noninteractive apt-get install -qqy --no-install-recommends openjdk-17-jre-headless maven >/dev/null
  fi
  if [ ! -f "$LIB/.whole" ]; then
    rm -rf "$LIB.part"
    mvn -B -q -f "$HERE/kafka/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$LIB.part"
    rm -rf "$LIB"; mv "$LIB.part" "$LIB"; touch "$LIB/.whole"
  fi
  # an archive of loaded classes, made by one short run, halves every later start
  KAFKA_DIR=$KAFKA_DIR KAFKA_PORT=$((KAFKA_PORT + 5000)) KAFKA_NODES=1 KAFKA_USER='' KAFKA_MORE='' KAFKA_TLS='' KAFKA_ADVERTISED='' \
    KAFKA_JVM="-XX:ArchiveClassesAtExit=$LIB/kafka.jsa.part" "$0" first >/dev/null
  mv "$LIB/kafka.jsa.part" "$LIB/kafka.jsa"
}

prepare() { # node: its settings, and its data folder formatted once
  local i=$1 dir=$RUN/n$1 voters= k copies=1 insync=1 protocol=PLAINTEXT
  [ "$KAFKA_NODES" -lt 3 ] || { copies=3; insync=2; }
  [ -z "$KAFKA_TLS" ] || protocol=SSL
  [ -z "$KAFKA_USER" ] || protocol=SASL_${protocol}
  for k in $(nodes); do voters+=,$k@127.0.0.1:$(cport "$k"); done
  mkdir -p "$dir"
  sed -e "s|@ID@|$i|; s|@VOTERS@|${voters#,}|; s|@RF@|$copies|; s|@ISR@|$insync|; s|@DATA@|$dir/data|" \
    -e "s|@ADVERTISED@|${KAFKA_ADVERTISED:-127.0.0.1:$(port "$i")}|; s|@PROTOCOL@|$protocol|g; s|@PORT@|$(port "$i")|g; s|@CPORT@|$(cport "$i")|" \
    "$HERE/kafka/server.properties" >"$dir/server.properties"
  local more name port advertised
  for more in $KAFKA_MORE; do
    IFS=: read -r name port advertised <<<"$more"
    [ "$i" = 1 ] && sed -i -e "s|^listeners=.*|&,$name://127.0.0.1:$port|; s|^advertised.listeners=.*|&,$name://127.0.0.1:$advertised|" \
      -e "s|^listener.security.protocol.map=.*|&,$name:PLAINTEXT|" "$dir/server.properties"
  done
  if [ -n "$KAFKA_TLS" ]; then
    printf '%s\n' ssl.{key,trust}store.type=PEM "ssl.keystore.location=$KAFKA_TLS/broker.pem" \
      "ssl.truststore.location=$KAFKA_TLS/ca.pem" >>"$dir/server.properties"
  fi
  if [ -n "$KAFKA_USER" ]; then
    local name=${KAFKA_USER%%:*} word=${KAFKA_USER#*:} login=org.apache.kafka.common.security.plain.PlainLoginModule
    printf '%s\n' "sasl.enabled.mechanisms=PLAIN" "sasl.mechanism.inter.broker.protocol=PLAIN" \
      "listener.name.${protocol,,}.plain.sasl.jaas.config=$login required username=\"$name\" password=\"$word\" user_$name=\"$word\" user_guest=\"$word\";" \
      "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer" "super.users=User:$name;User:ANONYMOUS" \
      >>"$dir/server.properties"
  fi
  [ -f "$dir/data/meta.properties" ] || java "${JVM[@]}" -cp "$LIB/*" kafka.tools.StorageTool format \
    --ignore-formatted -t "$CLUSTER" -c "$dir/server.properties" >"$dir/format.log" 2>&1 || { cat "$dir/format.log" >&2; die "format failed"; }
}

launch() { # node
  local i=$1 dir=$RUN/n$1 more=()
  alive "$i" >/dev/null && return 0
  [ ! -f "$LIB/kafka.jsa" ] || more=(-XX:SharedArchiveFile="$LIB/kafka.jsa")
  touch "$dir/kafka.log"; wc -c <"$dir/kafka.log" >"$dir/from"
  # shellcheck disable=SC2086
  (exec 8>&- 9>&-; cd "$dir"
   exec setsid java -Xms"$KAFKA_HEAP" -Xmx"$KAFKA_HEAP" "${JVM[@]}" -Dlog4j2.level=INFO "${more[@]}" ${KAFKA_JVM:-} \
     -cp "$LIB/*" kafka.Kafka "$dir/server.properties" >>"$dir/kafka.log" 2>&1 </dev/null) &
  echo $! >"$dir/pid"
}

await() { # node
  local i=$1 until=$((SECONDS + KAFKA_WAIT))
  until answers "$i"; do
    alive "$i" >/dev/null || { sleep 0.2; alive "$i" >/dev/null || { tail -n 20 "$RUN/n$i/kafka.log" >&2; die "node $i ended"; }; }
    [ $SECONDS -lt $until ] || { tail -n 20 "$RUN/n$i/kafka.log" >&2; die "node $i is not ready after $KAFKA_WAIT s"; }
    sleep 0.1
  done
}

start() { # prints the addresses
  mkdir -p "$RUN"
  exec 9>"$RUN.lock"; flock 9
  local i addresses=
  local jobs=()
  for i in $(nodes); do prepare "$i" & jobs+=($!); done
  for i in "${jobs[@]}"; do wait "$i"; done
  for i in $(nodes); do launch "$i"; done
  for i in $(nodes); do await "$i"; addresses+=,127.0.0.1:$(port "$i"); done
  if [ -n "${1:-}" ]; then
    (exec 8>&- 9>&-; exec setsid "$0" watch "$1" >/dev/null 2>&1 </dev/null) &
  fi
  echo "${addresses#,}"
}

stop() { # TERM first, KILL after 20 s
  local i pid left until=$((SECONDS + 20))
  for i in $(nodes); do pid=$(alive "$i") && kill "$pid" || true; done
  while :; do
    left=0; for i in $(nodes); do alive "$i" >/dev/null && left=1; done
    [ $left = 1 ] || break
    [ $SECONDS -lt $until ] || for i in $(nodes); do pid=$(alive "$i") && kill -9 "$pid" || true; done
    sleep 0.1
  done
  for i in $(nodes); do rm -f "$RUN/n$i/pid"; done
}

case ${1:-} in
  install) install ;;
  start) install; start "${2:-}" ;;
  first) start; stop; rm -rf "$RUN" "$RUN.lock" ;; # while installing
  stop) stop ;;
  wipe) stop; rm -rf "$RUN" "$RUN.lock" ;;
  watch) while kill -0 "$2" 2>/dev/null; do sleep 0.5; done; "$0" wipe ;;
  status)
    for i in $(nodes); do
      pid=$(alive "$i") && echo "node $i process $pid port $(port "$i")" || echo "node $i does not run"
    done ;;
  kill) pid=$(alive "${2:?node}") || die "node $2 does not run"; kill -9 "$pid"; rm -f "$RUN/n$2/pid" ;;
  startnode) launch "${2:?node}"; await "$2" ;;
  *) sed -n '2,16p' "$0" >&2; exit 64 ;;
esac
