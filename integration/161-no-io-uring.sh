# Where io_uring is refused the router takes epoll and says so; where it is demanded all the same, the start is refused.
#
#   no_uring.py: a seccomp filter under which io_uring_setup(2) fails ── exec ── emperor ── left, right

. "$(dirname "$0")/lib.sh"

engine() { sed -i "s|^router: .*|router: {address: [10.107.0.1/24, 'fd00:107::1/64'], engine: $1}|" "$SETTINGS"; }
# Scripts in the emperor's place; the last exec leaves it the pid that they had.
for errno in EPERM ENOSYS; do
  cat >"$W/bin/under-$errno" <<C
#!/bin/sh
exec $PYTHON $(realpath "$(dirname "$0")/no_uring.py") $errno $EMPEROR "\$@"
C
  chmod +x "$W/bin/under-$errno"
done
crosses() {
  check "$1: the host reaches a vassal" ping -q -c 3 -i 0.01 -W 5 10.107.0.2
  check "$1: vassals reach each other" in_vassal left ping -q -c 3 -i 0.01 -W 5 10.107.0.3
  check "$1: over IPv6 too" in_vassal left ping -q -c 3 -i 0.01 -W 5 fd00:107::3
  check "$1: and a stream crosses" fetch http://10.107.0.3:8080/healthz
}
drop_pair
cat >"$PUB/serve.py" <<'P'
import socket
listener = socket.socket(fileno=3)
while True:
    client, _ = listener.accept()
    client.sendall(b"served\n")
    client.recv(1)
    client.close()
P
cat >"$W/hold.py" <<'P'
import socket, sys
client = socket.socket(socket.AF_UNIX)
client.connect(sys.argv[1])
print(client.recv(100).decode(), flush=True)
client.recv(1)
P
drop_vassal lazy <<<"{command: [$PYTHON, $PUB/serve.py], on_demand: {socket: $W/lazy, idle: 1s}, stop: {signal: TERM}}"

for errno in EPERM ENOSYS; do
  engine auto
  EMPEROR=$W/bin/under-$errno start_emperor
  for name in left right; do wait_running $name; done
  wait_for 10 fetch http://10.107.0.3:8080/healthz >/dev/null
  check "auto, $errno: it takes epoll, and says so" logged "uplink up" "engine=epoll"
  mark
  kill -USR1 "$EMPEROR_PID"
  check "auto, $errno: in its status too" wait_for 10 logged "status uplink=emperor0" "engine=epoll"
  crosses "auto, $errno"
  "$PYTHON" "$W/hold.py" "$W/lazy" >"$W/held" & held=$!
  bystander $held
  check "$errno: a client starts a vassal on demand" wait_for 10 grep -q served "$W/held"
  pid=$(vassal_pid lazy)
  sleep 2.5 # longer than its idle time, and a look beyond
  check "$errno: and keeps it while he is connected" same_pid lazy "$pid"
  kill $held
  check "$errno: unused, it is stopped" wait_gone lazy
  check "auto, $errno: the emperor ends with 0" stop_emperor

  engine io_uring
  code=0
  said=$(timeout 20 "$W/bin/under-$errno" run "$VASSALS" --config "$SETTINGS" </dev/null 2>&1) || code=$?
  check "io_uring, $errno: the start is refused" test "$code" -ne 0 -a "$code" -ne 124
  check "io_uring, $errno: with advice" says "set router.engine to auto or epoll" echo "$said"
  check "io_uring, $errno: and leaves nothing" fails sh -c "ip link show emperor0 || nft list tables | grep . || ls -d $RUN/state/*"
done

# ---- it was the filter
engine auto
if "$PYTHON" -c 'import ctypes, sys; sys.exit(ctypes.CDLL(None).syscall(425, 1, ctypes.create_string_buffer(120)) < 0)'; then
  start_emperor
  for name in left right; do wait_running $name; done
  wait_for 10 fetch http://10.107.0.3:8080/healthz >/dev/null
  check "without a filter auto takes io_uring" logged "uplink up" "engine=io_uring"
  crosses "io_uring"
  check "the emperor ends with 0" stop_emperor
else
  skip "without a filter auto takes io_uring" "this kernel allows none"
fi
