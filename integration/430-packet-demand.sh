# on_demand with a packet: the first packet for a vassal starts it, and waits until it is ready.
#
#   client ─ SYN ─▶ router: 10.107.0.20 sleeps ─ held ──────────────┐
#                           fd00:107::20                            │
#                      └─ wake ─▶ emperor ─ clone, tun, exec, ready ─┴─▶ SYN, in its order

. "$(dirname "$0")/lib.sh"

# Serves TCP on 8080 and echoes UDP on 9000, some time after its start.
cat >"$PUB/late.py" <<'P'
import select, signal, socket, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
time.sleep(0.3)
udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
udp.bind(("::", 9000))
tcp = socket.create_server(("::", 8080), family=socket.AF_INET6, dualstack_ipv6=True, backlog=100)
start = time.time_ns()
while True:
    for ready in select.select([udp, tcp], [], [])[0]:
        if ready is udp:
            data, peer = udp.recvfrom(100)
            udp.sendto(data, peer)
        else:
            client, _ = tcp.accept()
            data = client.recv(100)
            client.sendall(b"%s start=%d\n" % (data, start))
            client.close()
P
cat >"$PUB/ask.py" <<'P'
import socket, sys, time
begun = time.monotonic()
client = socket.create_connection((sys.argv[1], 8080), timeout=10)
connected = time.monotonic() - begun
client.sendall(b"hello")
print(client.makefile().read().strip(), f"connected={connected:.3f}")
P
ask() { "$PYTHON" "$PUB/ask.py" "$@"; }
asleep() { gone svc && status_says svc state=idle; }

start_emperor
drop_vassal svc <<Y
command: [$PYTHON, $PUB/late.py]
network: {address: [10.107.0.20, "fd00:107::20"], firewall: {in: ["deny any any tcp 23"]}}
ready: {tcp: 8080}
on_demand: {packet: true, idle: 1s}
stop: {signal: TERM, timeout: 5s}
Y
drop_vassal friend <<Y
command: [/bin/sleep, infinity]
network: {address: [10.107.0.21, "fd00:107::21"]}
Y
wait_running friend
check "nothing runs" wait_for 5 asleep
for address in 10.107.0.20 fd00:107::20; do
  check "$address: the first connection, from the host, is served by its first SYN" \
    says "hello start=" one_syn "$PYTHON" "$PUB/ask.py" $address
  check "$address: by a vassal that runs" wait_running svc
  check "$address: unused, it sleeps again" wait_for 10 asleep
  check "$address: a vassal's connection wakes it too" \
    says "hello start=" one_syn in_vassal friend "$PYTHON" "$PUB/ask.py" $address
  wait_for 10 asleep
  mark
  check "$address: a ping wakes it and is answered" ping -q -c 1 -W 5 $address
  wait_for 10 asleep
  mark
  denied=$(counter svc dropped.denied)
  check "$address: what its firewall denies does not" fails "$PYTHON" -c '
import socket, sys
socket.create_connection((sys.argv[1], 23), timeout=1)' $address
  check "$address: it sleeps on" asleep
  check "$address: and that was counted" more_than "$denied" counter svc dropped.denied
  full=$(counter svc dropped.queue_full)
  check "$address: datagrams are held in their order, as many as there is room for" "$PYTHON" - $address <<'P'
import socket, sys
client = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(5)
client.connect((sys.argv[1], 9000))
for n in range(40):
    client.send(b"%d" % n)
got = [int(client.recv(100)) for _ in range(16)]
assert got == list(range(16)), got
client.settimeout(0.5)
try:
    got.append(int(client.recv(100)))
except TimeoutError:
    pass
print(got)
assert len(got) == 16, "more than there is room for"
client.settimeout(5)
client.send(b"next")
assert client.recv(100) == b"next", "a later one"
P
  check "$address: what had no room was counted" is $((full + 24)) counter svc dropped.queue_full
  wait_for 10 asleep
done
check "clients at any moment of its sleeping and waking are served" "$PYTHON" - <<'P'
import random, socket, time
seed = random.randrange(1 << 32)
random.seed(seed)
starts, end = set(), time.monotonic() + 8
while time.monotonic() < end:
    try:
        client = socket.create_connection(("10.107.0.20", 8080), timeout=10)
        client.sendall(b"x")
        answer = client.makefile().read()
    except (ConnectionResetError, ConnectionRefusedError):
        continue  # it was just ending: nothing answers for a program that closes its socket
    assert answer.startswith("x start="), f"seed {seed}: {answer!r}"
    starts.add(answer)
    time.sleep(random.uniform(1.0, 1.6))
assert len(starts) > 1, "it never slept"
P
wait_for 10 asleep

# ---- who has the address
mark
drop_vassal thief <<<"{command: [/bin/sleep, infinity], network: {address: 10.107.0.20}}"
check "the address of one that sleeps is its own" wait_for 5 logged "thief.yaml" "10.107.0.20 already belongs to"
rm "$VASSALS/thief.yaml"
spoof() { in_vassal friend "$PYTHON" -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_IP, 19, 1)  # IP_TRANSPARENT
s.bind(("10.107.0.20", 5)); s.sendto(b"x", ("10.107.0.1", 5))'; }
before=$(counter friend dropped.spoofed)
spoof
check "and nobody speaks in its name" wait_for 5 more_than "$before" counter friend dropped.spoofed
mark
sed -i 's/tcp 23/tcp 8080/' "$VASSALS/svc.yaml"
settled
check "a change of its firewall holds while it sleeps" fails timeout 1 "$PYTHON" "$PUB/ask.py" 10.107.0.20
check "so it sleeps on" asleep
sed -i 's/tcp 8080/tcp 23/' "$VASSALS/svc.yaml"
settled

# ---- what cannot be started
sed -i "s,$PUB/late.py,$PUB/missing.py," "$VASSALS/svc.yaml"
settled
mark
ping -q -c 1 -W 1 10.107.0.20 >/dev/null || true
check "one that fails says so" wait_for 5 logged "vassal ended" "name=svc"
sed -i "s,$PUB/missing.py,$PUB/late.py," "$VASSALS/svc.yaml"
check "and serves when it is mended" wait_for 10 says "hello" ask 10.107.0.20
nobody_there() { says Unreachable sh -c "ping -c 1 -W 2 $1 || true"; }
drop_vassal once <<<"{command: [/bin/false], network: {address: 10.107.0.22}, on_demand: {packet: true}, restart: {policy: never}}"
settled
mark
ping -q -c 1 -W 2 10.107.0.22 >/dev/null || true
wait_for 5 logged "it stays down" name=once
check "whoever calls on one that stays down hears that nobody is there" wait_for 5 nobody_there 10.107.0.22
drop_vassal once <<<"{command: [/bin/sleep, infinity], network: {address: 10.107.0.22}, on_demand: {packet: true}}"
settled
rm -f "$LOGS/once.log"
mkdir "$LOGS/once.log" # so that it has no network when it fails
drop_vassal once <<<"{command: [/bin/sleep, infinity], network: {address: 10.107.0.22}, restart: {delay: 1h, max_delay: 1h}}"
check "so does he if one that slept is to run and cannot" wait_for 5 nobody_there 10.107.0.22
rm "$VASSALS/once.yaml"
wait_gone once
rm "$VASSALS/svc.yaml"
wait_gone svc
check "removed, nobody has its address" fails says "hello" timeout 2 "$PYTHON" "$PUB/ask.py" 10.107.0.20

# ---- an emperor that is killed
drop_vassal svc <<Y
command: [$PYTHON, $PUB/late.py]
network: {address: [10.107.0.20, "fd00:107::20"]}
ready: {tcp: 8080}
on_demand: {packet: true, idle: 5s}
stop: {signal: TERM, timeout: 5s}
Y
wait_for 5 asleep
kill_emperor
start_emperor
check "one that slept under a dead emperor is woken under the next" wait_for 5 says hello ask 10.107.0.20
wait_for 20 asleep
kill_emperor
start_emperor
check "and by its other address" wait_for 5 says hello ask fd00:107::20
pid=$(vassal_pid svc)
kill_emperor
start_emperor
check "one that was awake serves" wait_for 5 says hello ask 10.107.0.20
check "as the process that it was" same_pid svc "$pid"
check "and sleeps when unused" wait_for 20 asleep
rm "$VASSALS/svc.yaml"
wait_gone svc

# ---- many
for n in $(seq 30 49); do
  drop_vassal "many$n" <<<"{command: [$PYTHON, $PUB/late.py], network: {address: 10.107.0.$n}, ready: {tcp: 8080}, on_demand: {packet: true, idle: 1s}, stop: {signal: TERM}}"
done
settled
check "twenty wake at once" "$PYTHON" - <<'P'
import socket, threading
bad = []
def visit(n):
    try:
        client = socket.create_connection((f"10.107.0.{n}", 8080), timeout=20)
        client.sendall(b"x")
        assert client.makefile().read().startswith("x start=")
    except Exception as error:
        bad.append((n, error))
threads = [threading.Thread(target=visit, args=(n,)) for n in range(30, 50)]
[t.start() for t in threads]
[t.join() for t in threads]
assert not bad, bad
P
none_runs() { local n; for n in $(seq 30 49); do gone "many$n" || return 1; done; }
check "and sleep again" wait_for 20 none_runs
check "the emperor ends with 0" stop_emperor
check "nothing is left" wait_for 5 is "" processes
