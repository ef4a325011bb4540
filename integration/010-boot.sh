# A vassal is born with its network complete, in both families.
#
#      host                     the router                 web  10.107.0.2   fd00:107::2
#   emperor0 10.107.0.1    ---------------------------     first  10.107.0.3   fd00:107::3
#            fd00:107::1                                   lonely 10.107.0.9  (IPv4 only)
#   "bell" on port 8081

. "$(dirname "$0")/lib.sh"

"$EMPEROR" demo serve --port 8081 --text "the bell" >/dev/null & bystander $!
wait_for 5 fetch http://127.0.0.1:8081/healthz >/dev/null

drop_vassal web <<'Y'
command: [mini-emperor, demo, serve, --port, "8080"]
network: {address: [10.107.0.2, "fd00:107::2"]}
Y
start_emperor
check "a definition that was there before runs" wait_running web
check "that is logged with its name" wait_for 5 logged "vassal running" "name=web"
check "the host reaches it over IPv4" wait_for 5 says "you are 10.107.0.1" fetch http://10.107.0.2:8080/
check "the host reaches it over IPv6" wait_for 5 says "you are fd00:107::1" fetch 'http://[fd00:107::2]:8080/'
check "it runs as nobody" says "uid 65534" fetch http://10.107.0.2:8080/
check "the host pings it over IPv4" ping -q -c 2 -i 0.2 -W 2 10.107.0.2
check "the host pings it over IPv6" ping -q -c 2 -i 0.2 -W 2 fd00:107::2
check "it pings the gateway over IPv4" in_vassal web ping -q -c 2 -i 0.2 -W 2 10.107.0.1
check "it pings the gateway over IPv6" in_vassal web ping -q -c 2 -i 0.2 -W 2 fd00:107::1
check "a large ping crosses in fragments" in_vassal web ping -q -c 1 -W 2 -s 8000 10.107.0.1
check "its loopback works" in_vassal web ping -q -c 1 -W 2 127.0.0.1

check "its interface is tun0 with the router's MTU" says "mtu 1500" in_vassal web ip link show tun0
check "its default routes lead to the gateway" says "default via 10.107.0.1" in_vassal web ip route show
check "also over IPv6" says "default via fd00:107::1" in_vassal web ip -6 route show
check "the state file names its addresses" is "10.107.0.2/24 fd00:107::2/64" \
  vassal_field web '.addresses | join(" ")'
check "the state file names its namespace" is "$(stat -Lc %i "/proc/$(vassal_pid web)/ns/net")" \
  vassal_field web '.netns'

# One single attempt, in the command's first moment: it succeeds only if nothing remained to be done.
drop_vassal first <<'Y'
command: [mini-emperor, demo, visit, --count=1, "http://10.107.0.1:8081/", "http://[fd00:107::1]:8081/"]
network: {address: [10.107.0.3, "fd00:107::3"]}
restart: {policy: never}
log: {to: inherit}
Y
check "the first instruction has IPv4" wait_for 10 logged "first" "http://10.107.0.1:8081/" "200 OK: the bell"
check "the first instruction has IPv6" wait_for 10 logged "first" "http://[fd00:107::1]:8081/" "200 OK: the bell"

drop_vassal lonely <<'Y'
command: [mini-emperor, demo, serve, --port, "8080"]
network: {address: 10.107.0.9, device: eth7, mtu: 1280}
Y
check "a vassal of one family runs" wait_running lonely
check "it has the name and MTU that its file says" says "mtu 1280" in_vassal lonely ip link show eth7
check "it has no default route of the other family" fails says default in_vassal lonely ip -6 route show
check "it is reached" wait_for 5 fetch http://10.107.0.9:8080/healthz

# ---- whom it runs as, and in which namespaces
drop_vassal boxed <<'Y'
command: [/bin/sleep, infinity]
user: daemon
group: games
groups: [audio, "4242"]
hostname: inside
namespaces: [pid, mount, uts, ipc, cgroup]
Y
check "a vassal with users and namespaces of its own runs" wait_running boxed
pid=$(vassal_pid boxed)
ids() { awk -v key="$1:" '$1 == key {$1 = ""; print}' "/proc/$pid/status" | xargs; }
uid=$(id -u daemon) gid=$(getent group games | cut -d: -f3) audio=$(getent group audio | cut -d: -f3)
check "its user is the one it names, in every way" is "$uid $uid $uid $uid" ids Uid
check "its group too" is "$gid $gid $gid $gid" ids Gid
check "and its further groups" is "$audio 4242" ids Groups
for kind in net pid mnt uts ipc cgroup; do
  check "its $kind namespace is its own" fails is "$(readlink /proc/self/ns/$kind)" readlink "/proc/$pid/ns/$kind"
done
check "its host name is its own" is inside nsenter -t "$pid" -u uname -n
check "the host's is not changed" fails is inside uname -n
drop_vassal bare <<<'{command: [/bin/sleep, infinity], namespaces: [pid]}'
check "a vassal with fewer namespaces runs" wait_running bare
pid=$(vassal_pid bare)
for kind in mnt uts ipc cgroup; do
  check "its $kind namespace is the host's" is "$(readlink /proc/self/ns/$kind)" readlink "/proc/$pid/ns/$kind"
done
check "its network namespace is its own all the same" fails is "$(readlink /proc/self/ns/net)" \
  readlink "/proc/$pid/ns/net"

check "the command is process 1 of its PID namespace" \
  says $'\t1' grep NSpid "/proc/$(vassal_pid web)/status"
check "its standard input is empty" is /dev/null readlink "/proc/$(vassal_pid web)/fd/0"
check "the emperor ends with 0" stop_emperor
