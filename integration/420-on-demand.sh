# on_demand with a socket: the emperor listens, the first client starts the vassal, which gets the socket.
#
#   client ──connect── /run/scenario/sock/web ── emperor ─ clone, exec ─▶ vassal: fds 0 and 3, LISTEN_FDS
#                                                  ▲                        │ unused for `idle`
#                                                  └────── listens again ◀──┘

. "$(dirname "$0")/lib.sh"

# Answers each connection with what it knows of its socket; ends as it is told by what it reads. Told to stop, it first answers
# whom it has accepted: that one is nobody else's.
cat >"$PUB/serve.py" <<'P'
import os, select, signal, socket, sys
told, tell = os.pipe()
signal.signal(signal.SIGTERM, lambda *_: os.write(tell, b"t"))
a, b = os.fstat(0), os.fstat(3)
same = (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
pid = os.environ["LISTEN_PID"] == str(os.getpid())
about = f"fds={os.environ['LISTEN_FDS']} name={os.environ['LISTEN_FDNAMES']} pid={pid} same={same} uid={os.getuid()}"
listener = socket.socket(fileno=int(sys.argv[1]) if len(sys.argv) > 1 else 3)
while True:
    if told in select.select([told, listener], [], [])[0]:
        sys.exit(0)
    client, _ = listener.accept()
    word = client.recv(100).decode().strip()
    client.sendall(f"{word} {about} start={sys.argv[0] and os.stat('/proc/self').st_ino}\n".encode())
    if word == "hold":
        client.recv(100)
    client.close()
    if word.startswith("exit"):
        sys.exit(int(word.split()[1]))
P
# ask SOCKET WORD: what the service answers.
cat >"$W/ask.py" <<'P'
import socket, sys
where, word = sys.argv[1:3]
if where.startswith("/"):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    client.connect(where)
else:
    host, port = where.rsplit(":", 1)
    client = socket.create_connection((host, int(port)), timeout=10)
client.sendall(word.encode() + b"\n")
answer = client.makefile()
print(answer.readline().strip(), flush=True)
answer.read()
P
ask() { "$PYTHON" "$W/ask.py" "$@"; }
is_idle() { status_says "$1" state=idle && gone "$1"; }
# hold SOCKET FILE: a client that keeps its connection; its pid is $!. FILE has its answer.
hold() { "$PYTHON" "$W/ask.py" "$1" hold >"$2" 2>&1 & }
S=$W/sock
mkdir "$S"
SERVE="[$PYTHON, $PUB/serve.py]"

start_emperor
drop_vassal web <<Y
command: $SERVE
network: {address: 10.107.0.10}
on_demand: {socket: $S/web, mode: 0660, owner: daemon, group: games, idle: 3s}
stop: {signal: TERM, timeout: 5s}
Y
check "the emperor listens" wait_for 5 listens "$S/web"
check "with the owner and the mode that the file says" is "660 daemon:games" stat -c '%a %U:%G' "$S/web"
check "and nothing runs" wait_for 5 is_idle web
check "the first client is answered" says "hello fds=1 name=web pid=True same=True uid=65534" ask "$S/web" hello
check "by a vassal that runs" wait_running web
pid=$(vassal_pid web)
check "a second one by the same" says hello ask "$S/web" hello
check "under the same pid" same_pid web "$pid"
hold "$S/web" "$W/held"
held=$!
bystander $held
wait_for 10 grep -q "^hold" "$W/held"
sleep 5 # longer than its idle time, and a look beyond
check "an open connection keeps it running" same_pid web "$pid"
kill $held 2>/dev/null || true
check "unused, it is stopped" wait_gone web
check "and waited for again" wait_for 5 is_idle web
check "it ended by itself, as it was asked to" fails logged "killing the whole tree"
check "the next client starts it anew" says hello ask "$S/web" hello
check "as a new process" wait_running web "$pid"
wait_gone web
sed -i "s|idle: 3s|idle: 1s|" "$VASSALS/web.yaml"
settled
# While the emperor is halted, whoever comes is accepted and gone before it is awake.
drop_vassal brief <<<"{command: $SERVE, on_demand: {socket: $S/brief, idle: 4s}, stop: {signal: TERM}}"
wait_for 5 listens "$S/brief"
ask "$S/brief" hello >/dev/null
wait_running brief
pid=$(vassal_pid brief)
halted() { is T awk '{print $3}' "/proc/$EMPEROR_PID/stat"; }
comes_and_goes() {
  kill -STOP "$EMPEROR_PID"
  wait_for 5 halted && ask "$S/brief" hello
  kill -CONT "$EMPEROR_PID"
}
for _ in 1 2 3 4; do
  comes_and_goes >/dev/null 2>&1 || true # nobody answers where it was stopped
  sleep 1.5 # less than its idle time; all of them are more
done
check "clients who come and go before the emperor looks keep it running" same_pid brief "$pid"
check "and when none comes, it is stopped" wait_gone brief
rm "$VASSALS/brief.yaml"
check "a crowd at the door is served to the last" "$PYTHON" - "$S/web" <<'P'
import socket, sys
clients = []
for n in range(100):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    client.connect(sys.argv[1])
    client.sendall(f"n{n}\n".encode())
    clients.append(client)
for n, client in enumerate(clients):
    answer = client.makefile().read()
    assert answer.startswith(f"n{n} "), (n, answer)
P
check "clients at any moment of its sleeping and waking are served" "$PYTHON" - "$S/web" <<'P'
import random, socket, sys, time
seed = random.randrange(1 << 32)
random.seed(seed)
starts, end = set(), time.monotonic() + 8
while time.monotonic() < end:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    client.connect(sys.argv[1])
    client.sendall(b"x\n")
    answer = client.makefile().read()
    assert answer.startswith("x "), f"seed {seed}: {answer!r}"
    starts.add(answer.split("start=")[1])
    time.sleep(random.uniform(0.9, 1.5))
assert len(starts) > 1, "it never slept"
P

# ---- its own end, and edits
check "one that ends by itself with 0 is waited for" says "exit 0" ask "$S/web" "exit 0"
check "again" wait_for 5 is_idle web
mark
ask "$S/web" "exit 3" >/dev/null
check "one that fails is not started for nobody" wait_for 5 logged "vassal ended" "exited with code 3"
check "but waited for again, after its back-off" wait_for 5 logged "waiting for a client" "name=web"
check "and serves" says hello ask "$S/web" hello
drop_vassal once <<<"{command: $SERVE, on_demand: {socket: $S/once}, restart: {policy: never}, stop: {signal: TERM}}"
check "one that is never started again serves once" wait_for 5 says "exit 3" ask "$S/once" "exit 3"
check "then nobody listens for it" wait_for 5 fails test -e "$S/once"
kill -URG "$EMPEROR_PID"
check "until the operator wants it tried" wait_for 5 says "exit 3" ask "$S/once" "exit 3"
wait_for 5 fails test -e "$S/once"
rm "$VASSALS/once.yaml"
wait_gone once
sed -i "s,$S/web,$S/other," "$VASSALS/web.yaml"
check "an edit moves the socket" wait_for 5 listens "$S/other"
check "and removes the old" wait_for 5 fails test -e "$S/web"
check "where it serves" says hello ask "$S/other" hello
sed -i "s|, idle: 1s||" "$VASSALS/web.yaml"
wait_for 5 is_idle web
ask "$S/other" hello >/dev/null
wait_running web
pid=$(vassal_pid web)
rm "$VASSALS/web.yaml"
check "removed, it is gone" wait_gone web
check "and its socket with it" wait_for 5 fails test -e "$S/other"

# ---- a port of the host; descriptor 0, as uWSGI takes it
drop_vassal tcp <<Y
command: [$PYTHON, $PUB/serve.py, "0"]
on_demand: {socket: "127.0.0.1:8088", idle: 1s}
stop: {signal: TERM, timeout: 5s}
Y
check "a port of the host is waited at" wait_for 5 says hello ask 127.0.0.1:8088 hello
check "and given up when unused" wait_gone tcp
check "but not the port" says hello ask 127.0.0.1:8088 hello
rm "$VASSALS/tcp.yaml"
wait_gone tcp
check "removed, nobody listens" wait_for 5 fails ask 127.0.0.1:8088 hello

# ---- the place is taken
# He tells of each who knocks, as the emperor does whenever it tries.
"$PYTHON" -c 'import socket, sys
a = socket.socket(socket.AF_UNIX); a.bind(sys.argv[1]); a.listen()
while a.accept(): print("a knock", flush=True)' "$S/taken" >"$W/knocks" &
taker=$!
bystander $taker
wait_for 5 listens "$S/taken"
mark
told_from=$MARK
drop_vassal taken <<<"{command: $SERVE, on_demand: {socket: $S/taken}}"
check "a socket on which somebody else listens is not taken" wait_for 5 logged "name=taken" "$S/taken" "EADDRINUSE"
check "its vassal pauses, and the status says why" wait_for 5 status_says taken state=waiting 'trouble="listening on' "$S/taken" EADDRINUSE
check "and names its file" wait_for 5 logged problem taken.yaml EADDRINUSE
check "so does its record" is await vassal_field taken '.troubles[0].deed'
knocks() { wc -l <"$W/knocks"; }
wait_for 20 more_than 2 knocks
check "and said once, however often it is tried" is 1 sh -c "tail -c +$((told_from + 1)) $LOG | grep -c 'EADDRINUSE.*it is tried again'"
kill $taker
kill -URG "$EMPEROR_PID"
check "when he is gone, it is ours" wait_for 15 says hello ask "$S/taken" hello
check "and nothing is wrong with it any more" is 0 vassal_field taken '.troubles | length'
rm "$VASSALS/taken.yaml"
wait_gone taken
: >"$S/file"
mark
drop_vassal file <<<"{command: $SERVE, on_demand: {socket: $S/file}}"
check "a file in its place is left alone" wait_for 5 logged "name=file" "$S/file" "no socket that nobody uses"
check "as it was" test -f "$S/file"
rm "$VASSALS/file.yaml" "$S/file"
mark
drop_vassal lost <<<"{command: $SERVE, on_demand: {socket: $S/none/x}}"
check "a directory that does not exist is said" wait_for 5 logged "name=lost" "the directory must exist"
mkdir "$S/none"
check "and found when it does" wait_for 15 says hello ask "$S/none/x" hello
rm "$VASSALS/lost.yaml"
wait_gone lost
wait_for 5 fails test -e "$S/none/x"

# ---- an emperor that is killed
drop_vassal web <<<"{command: $SERVE, on_demand: {socket: $S/web}}"
drop_vassal busy <<<"{command: $SERVE, on_demand: {socket: $S/busy, idle: 1s}, stop: {signal: TERM}}"
wait_for 5 listens "$S/web"
wait_for 5 listens "$S/busy"
hold "$S/busy" "$W/held"
held=$!
bystander $held
wait_for 10 grep -q "^hold" "$W/held"
wait_running busy
pid=$(vassal_pid busy)
kill -KILL "$EMPEROR_PID"
wait "$EMPEROR_PID" 2>/dev/null || true
check "the socket of a dead emperor lies about" test -S "$S/web"
start_emperor
check "the next takes its place" wait_for 5 says hello ask "$S/web" hello
check "a vassal that ran goes on" same_pid busy "$pid"
sleep 1.5
check "and is seen to be used" same_pid busy "$pid"
kill $held
check "and not to be used" wait_gone busy
check "its socket is the emperor's again" wait_for 5 says hello ask "$S/busy" hello
check "for a new process" wait_running busy "$pid"
wait_gone busy

# ---- an emperor that becomes another binary
"$PYTHON" - "$S/web" "$S/busy" "$W/stop" >"$W/clients" 2>&1 <<'P' &
import os, socket, sys, time
*sockets, stop = sys.argv[1:]
n = 0
while not os.path.exists(stop):
    # The second ends after each client, so that most of the time nobody runs.
    for where, word in zip(sockets, ("x", "exit 0")):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(10)
        client.connect(where)
        client.sendall(word.encode() + b"\n")
        answer = client.makefile().read()
        assert answer.startswith(word), (where, answer)
        n += 1
    time.sleep(0.001)
print("served", n)
P
clients=$!
bystander $clients
for _ in 1 2 3; do check "an upgrade" "$EMPEROR" upgrade --config "$SETTINGS"; done
: >"$W/stop"
check "no client is turned away meanwhile, whether its vassal runs or not" wait_for 10 grep -q "^served" "$W/clients"
wait_gone busy
# Dead for a moment, handed over, and stopped before it is waited for again.
drop_vassal tired <<<"{command: $SERVE, on_demand: {socket: $S/tired}, restart: {delay: 1h, max_delay: 1h}}"
wait_for 5 listens "$S/tired"
ask "$S/tired" "exit 3" >/dev/null
wait_for 5 is waiting vassal_field tired .state
# It is handed over, since a file counts as removed only after a while.
drop_vassal leaving <<<"{command: $SERVE, on_demand: {socket: $S/leaving}}"
wait_for 5 listens "$S/leaving"
rm "$VASSALS/leaving.yaml"
check "an upgrade right after a vassal's file was removed" "$EMPEROR" upgrade --config "$SETTINGS"
check "leaves no socket of it" wait_for 5 fails test -e "$S/leaving"
check "the emperor ends with 0" stop_emperor
check "and leaves no socket" is "" find "$S" -type s
rm "$VASSALS"/*.yaml

# ---- tenants
install -d -m 0755 "$W/etc" "$W/homes"
install -d -o daemon -g daemon "$W/homes/daemon"
cat >>"$SETTINGS" <<Y
run_as_owner: true
vassals: [$W/homes/daemon]
Y
tenants_emperor() {
  mark
  "$EMPEROR" run --config "$SETTINGS" </dev/null >/dev/null 2>>"$LOG" &
  EMPEROR_PID=$!
  wait_for 15 logged "emperor ready"
}
tenants_emperor
put() { setpriv --reuid daemon --regid daemon --clear-groups -- sh -c 'umask 022; cat >"$0.tmp" && mv "$0.tmp" "$0.yaml"' "$W/homes/daemon/$1"; }
put mine <<<"{command: $SERVE, on_demand: {socket: $W/homes/daemon/sock, mode: 0600}}"
check "a tenant's socket lies in his own directory" wait_for 5 listens "$W/homes/daemon/sock"
check "and is his" is "600 daemon:daemon" stat -c '%a %U:%G' "$W/homes/daemon/sock"
check "as is the vassal" says "uid=1" ask "$W/homes/daemon/sock" hello
put roots <<<"{command: $SERVE, on_demand: {socket: /run/roots.sock}}"
check "in a directory of root he gets none" wait_for 5 logged "name=roots" "/run/roots.sock" "EACCES"
ln -s /run "$W/homes/daemon/link"
put linked <<<"{command: $SERVE, on_demand: {socket: $W/homes/daemon/link/linked.sock}}"
check "nor by a link" wait_for 5 logged "name=linked" "EACCES"
check "nothing came to be there" is "" find /run -maxdepth 1 -type s
# Killed in the midst of many edits, each of which moves a socket.
mkdir "$W/homes/daemon/many"
chown daemon: "$W/homes/daemon/many"
cat >"$PUB/move.py" <<'P'
import os, sys
homes, generation = sys.argv[1:]
for n in range(40):
    path = f"{homes}/many{n}.yaml"
    with open(path + ".tmp", "w") as file:
        file.write(f"{{command: [/bin/sleep, infinity], on_demand: {{socket: {homes}/many/{n}.{generation}}}}}")
    os.chmod(path + ".tmp", 0o644)
    os.rename(path + ".tmp", path)
P
move_all() { setpriv --reuid daemon --regid daemon --clear-groups -- "$PYTHON" "$PUB/move.py" "$W/homes/daemon" "$1"; }
only() { is "$(seq 0 39 | sed "s/$/.$1/" | sort)" sh -c "ls '$W/homes/daemon/many' | sort"; }
generation=1
move_all 1
check "forty sockets" wait_for 10 only 1
left=
for round in $(seq 12); do
  generation=$((generation + 1))
  move_all $generation
  # Some have moved, some have not.
  wait_for 5 test -S "$W/homes/daemon/many/$((RANDOM % 40)).$generation" >/dev/null
  kill_emperor
  tenants_emperor
  wait_for 10 only $generation >"$W/left" || { left="$left $round"; cat "$W/left"; rm -f "$W"/homes/daemon/many/*; generation=$((generation + 1)); move_all $generation; wait_for 10 only $generation; }
done
check "an emperor that is killed in the midst of edits leaves no socket at a place that no file names, 12 times" is "" echo "$left"
rm "$W"/homes/daemon/many*.yaml
check "removed, they are gone" wait_for 10 is "" ls "$W/homes/daemon/many"
: >/run/precious
mv "$W/homes/daemon/sock" "$W/homes/daemon/moved"
check "what he puts in the place of his socket stays when it is removed" sh -c \
  "ln -s /run/precious '$W/homes/daemon/sock' && rm '$W/homes/daemon/mine.yaml'"
wait_gone mine
check "and so does what that leads to" test -e /run/precious
check "the emperor ends with 0" stop_emperor
check "nothing is left" wait_for 5 is "" processes
