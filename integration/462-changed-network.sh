# A vassal that may change its own network does so: the operator is told, the others go on.
#
#   emperor ── events of its namespace ── vassal with CAP_NET_ADMIN: tun0 down, no address, another MTU, deleted

. "$(dirname "$0")/lib.sh"

cat >"$PUB/as_another.py" <<'P'
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("10.107.0.10", 0))
s.sendto(b"it is me", ("10.107.0.1", 9))
P
start_emperor
drop_vassal web <<'Y'
command: [mini-emperor, demo, serve, --port, "8080", --text, hello]
network: {address: 10.107.0.10}
Y
mkfifo -m 0666 "$PUB/orders"
drop_vassal admin <<Y
command: [/bin/sh, -c, 'while read -r line; do eval "\$line"; done <>$PUB/orders']
capabilities: [NET_ADMIN]
network: {address: [10.107.0.20, "fd00:107::20"]}
Y
order() { echo "$*" >"$PUB/orders"; }
wait_running web
WEB=$(vassal_pid web)
wait_running admin
pid=$(vassal_pid admin)
wait_for 15 ping -q -c 1 -W 1 10.107.0.20
mark
order ip link set tun0 down
check "a link that is set down from inside is told" wait_for 15 logged "from inside" "tun0 was set down" "name=admin"
check "it is not reached" fails ping -q -c 1 -W 1 10.107.0.20
check "the vassal goes on" same_pid admin "$pid"
order ip link set tun0 up
check "and when it is up again" wait_for 15 logged "no longer so" "tun0 was set down"
check "it is reached" wait_for 15 ping -q -c 1 -W 1 10.107.0.20
order ip addr del 10.107.0.20/24 dev tun0
check "an address that is taken away is told" wait_for 15 logged "10.107.0.20 was taken away from tun0"
order ip addr add 10.107.0.20/24 dev tun0
check "and when it is back" wait_for 15 logged "no longer so" "10.107.0.20 was taken away"
order ip link set tun0 mtu 1400
check "another MTU is told" wait_for 15 logged "the MTU of tun0 was changed to 1400"
order ip link set tun0 mtu 1500
mark
order ip addr add 10.107.0.10/24 dev tun0
before=$(counter admin dropped.spoofed)
order "$PYTHON $PUB/as_another.py"
check "another's address is of no use to it" wait_for 15 more_than "$before" counter admin dropped.spoofed
order ip addr del 10.107.0.10/24 dev tun0
mark
order "i=0; while [ \$i -lt 200 ]; do ip link set tun0 down; ip link set tun0 up; i=\$((i + 1)); done; touch $PUB/changed"
check "one that does so all the time delays nobody" settled
wait_for 40 test -e "$PUB/changed"
few() { [ "$(grep -c "name=admin" <(news))" -lt 60 ] || { grep -c "name=admin" <(news); return 1; }; }
check "and fills no log" few
wait_for 15 ping -q -c 1 -W 1 10.107.0.20
mark
order ip link del tun0
check "an interface that is deleted ends the vassal, with the reason" wait_for 15 logged "name=admin" "its tun was taken away from inside"
check "which is started anew" wait_running admin "$pid"
check "and reached" wait_for 15 ping -q -c 1 -W 1 10.107.0.20
check "nobody else noticed" same_pid web "$WEB"
check "and it answers" wait_for 5 says hello fetch http://10.107.0.10:8080/
check "the emperor ends with 0" stop_emperor
check "nothing is left" wait_for 15 is "" processes
