# Without root, too: the next emperor enters the user namespace of the vassals that are left.
#
#   +-- user namespace ------------------------------------------+
#   |  emperor, killed     one ══ TCP ══ two     emperor, new    |
#   +------------------------------------------------------------+

. "$(dirname "$0")/lib.sh"
cp "$(dirname "$0")/stream.py" "$PUB/"
be_user
before=$(belongings)
drop_vassal one <<Y
command: [$PYTHON, $PUB/stream.py, sink, "7001", $PUB/gaps]
network: {address: 10.107.0.2}
Y
drop_vassal two <<Y
command: [$PYTHON, $PUB/stream.py, source, 10.107.0.2, "7001"]
network: {address: 10.107.0.3}
restart: {delay: 100ms, max_delay: 100ms}
Y
start_as_user
for name in one two; do wait_running $name; done
wait_for 5 grep -q open "$PUB/gaps"
wait_running two
who() { local name; for name in one two; do echo "$name $(vassal_pid $name)"; done; }
opened() { grep -c "open" "$PUB/gaps"; }
# goes_on: no other stream was opened, and the one that was brings more.
carried() { in_vassal one ss -HtniO state established "sport = :7001" | sed -nE 's/.* bytes_received:([0-9]+).*/\1/p'; }
goes_on() {
  local before
  before=$(carried) && wait_for 20 more_than "$before" carried && is "$connections" opened
}
vassals=$(who) connections=$(opened)
users=$(readlink "/proc/$EMPEROR_PID/ns/user")

drop_slow_end three "$PUB/three"
kill -KILL "$EMPEROR_PID"
wait "$EMPEROR_PID" 2>/dev/null || true
check "the next emperor gets ready" start_as_user
check "a post_stop that was cut short is called again" wait_for 5 is 2 grep -c begin "$PUB/three"
: >"$PUB/three.go"
check "to its end" wait_for 5 is "begin begin end" paste -sd" " "$PUB/three"
check "with the same vassals" is "$vassals" who
check "in their user namespace" is "$users" readlink "/proc/$EMPEROR_PID/ns/user"
check "their stream goes on" goes_on
check "the gateway is there for them" in_vassal one ping -q -c 1 -W 2 10.107.0.1
check "an upgrade" "${AS_USER[@]}" "$EMPEROR" upgrade --config "$SETTINGS"
check "has the same vassals" is "$vassals" who
check "and the same stream" goes_on
check "somebody else's binary is refused" fails "${AS_USER[@]}" "$MINI_EMPEROR" upgrade --config "$SETTINGS" --timeout 5
rm "$VASSALS/two.yaml"
check "it can end them" wait_gone two
check "the emperor ends with 0" stop_emperor
check "the host is as it was" wait_for 5 is "$before" belongings
