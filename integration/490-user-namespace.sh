# A user namespace of its own: inside the vassal is root, outside it is nobody but its user, before and after a crash.
#
#   host            0 root    4242 alice            300000 … 300099 alice's subordinates
#                      ×          ║                     ║
#   one (vassal)               0 root                 1 … 100
#
#   one 10.107.0.2 ── router ── two 10.107.0.3, the usual kind

. "$(dirname "$0")/lib.sh"

# The host's files of users, as only this scenario sees them.
for file in passwd group; do cp /etc/$file "$W/$file"; done
printf 'alice:x:4242:4242::/home/alice:/bin/sh\nbob:x:4343:4343::/:/bin/sh\n' >>"$W/passwd"
printf 'alice:x:4242:\nbob:x:4343:\nclub:x:4300:\n' >>"$W/group"
echo 'alice:300000:100' >"$W/subuid"
echo 'alice:400000:50' >"$W/subgid"
for file in passwd group subuid subgid; do
  [ -e /etc/$file ] || { : >/etc/$file; }
  mount --bind "$W/$file" /etc/$file
done
mkdir "$W/alices"
chown 4242:4242 "$W/alices"
echo secret >"$W/roots"
chmod 600 "$W/roots"
echo club >"$W/clubs"
chgrp 4300 "$W/clubs"
chmod 640 "$W/clubs"
printf 'router: {address: [10.107.0.1/24, "fd00:107::1/64"]}\n' >"$SETTINGS"

# What it finds from inside, in its output; a line a question.
cat >"$PUB/inside.sh" <<'S'
echo "who $(id -u) $(id -g) $(id -G)"
echo "uids $(tr -s ' \n' ' ' </proc/self/uid_map)"
echo "gids $(tr -s ' \n' ' ' </proc/self/gid_map)"
echo "first $$ $(ls /proc | grep -c '^[0-9]*$')"
echo "named $(hostname)"
echo "links $(ls /sys/class/net | sort | paste -sd' ')"
echo "nofile $(ulimit -Hn)"
try() { if "$@" >/dev/null 2>&1; then echo yes; else echo no; fi; }
echo "roots-file $(try cat "$W/roots")"
echo "clubs-file $(try cat "$W/clubs")"
echo "chown-of-roots $(try chown 0 "$W/roots")"
echo "own-file $(try touch "$W/alices/made")"
echo "give-to-subordinate $(try chown 7:7 "$W/alices/made")"
echo "mount $(try mount -t tmpfs none /mnt)"
echo "device $(try mknod "$W/alices/null" c 1 3)"
echo "hosts-hostname $(try nsenter -t 1 -u hostname taken)"
echo "sysctl-of-the-host $(try sh -c 'echo 1 >/proc/sys/kernel/panic')"
echo "ping $(try ping -q -c 2 -i 0.2 -W 2 10.107.0.3)"
echo "route $(try ip route replace 192.0.2.0/24 dev tun0)"
echo "end"
S
# said NAME WORD: what it said of that.
said() { sed -n "s/^$2 //p" "$LOGS/$1.log"; }

before=$(belongings)
start_emperor
drop_vassal two <<'Y'
command: [mini-emperor, demo, serve, --port, "8080"]
network: {address: [10.107.0.3, "fd00:107::3"]}
Y
# More open files than the emperor itself may have, if this machine lets its root (CAP_SYS_RESOURCE).
files=$(prlimit --pid $EMPEROR_PID --nofile -o HARD --noheadings | tr -d ' ')
files=$((files + 1000))
prlimit --nofile=$files:$files true 2>/dev/null || files=$((files - 2000))
drop_vassal one <<Y
command: [/bin/sh, -c, ". $PUB/inside.sh; exec sleep infinity"]
env: {W: $W}
user: alice
groups: [club]
hostname: inner
namespaces: [pid, mount, uts, ipc, cgroup, user]
capabilities: [NET_ADMIN, NET_RAW, SYS_ADMIN, CHOWN, DAC_OVERRIDE, FOWNER, SETUID]
limits: {nofile: $files}
network: {address: [10.107.0.2, "fd00:107::2"]}
Y
wait_running one
wait_running two
check "it has said all" wait_for 20 grep -qx end "$LOGS/one.log"
pid=$(vassal_pid one)

# ---- who is who
map() { tr -s ' \n' ' ' <"/proc/$pid/$1" | sed 's/^ //; s/ $//'; }
check "it is in another user namespace than the emperor" fails is "$(readlink /proc/$EMPEROR_PID/ns/user)" readlink "/proc/$pid/ns/user"
check "so is its network: it belongs to that namespace" is "$(readlink "/proc/$pid/ns/user")" \
  "$PYTHON" -c 'import fcntl, os, sys
fd = fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0xb701)
print("user:[%d]" % os.fstat(fd).st_ino)' "/proc/$pid/ns/net"
check "root is alice, subordinates follow" is "0 4242 1 1 300000 100" map uid_map
check "groups too, and club keeps its number" is "0 4242 1 1 400000 50 4300 4300 1" map gid_map
check "outside it is alice" is "4242 4242 4242 4242" awk '/^Uid/{print $2, $3, $4, $5}' "/proc/$pid/status"
check "with her groups" is "4300" awk '/^Groups/{$1=""; print $2}' "/proc/$pid/status"
check "inside it is root" is "0 0 0 4300" said one who
check "it sees the same maps" is " 0 4242 1 1 300000 100 " said one uids
check "it has what its definition names and nothing else" is 000000000020308b \
  awk '/^CapEff/{print $2}' "/proc/$pid/status"
check "and can never have more" is 000000000020308b awk '/^CapBnd/{print $2}' "/proc/$pid/status"

# ---- all the other namespaces together with it
check "it is process 1 and sees no other" says "1 " said one first
check "it has its host name" is inner said one named
check "the host has not" fails is inner hostname
check "its /sys shows its own network" is "lo tun0" said one links
check "it has its limit of open files" is $files said one nofile

# ---- what it can do, and what not
check "it cannot read a file of the host's root" is no said one roots-file
check "nor own it" is no said one chown-of-roots
check "it can read what its group may" is yes said one clubs-file
check "it can write what is its user's" is "4242" stat -c %u "$W/alices"
check "and did" is yes said one own-file
check "it can give that to a subordinate user" is "300006:400006" stat -c %u:%g "$W/alices/made"
check "it can mount" is yes said one mount
check "which the host does not see" fails grep -q ' /mnt ' /proc/self/mounts
check "it can make no device" is no said one device
check "nor change what is the whole machine's" is no said one sysctl-of-the-host
check "it can change its routes" is yes said one route
check "it pings the other through the router" is yes said one ping
check "the other reaches it" in_vassal two ping -q -c 2 -i 0.2 -W 2 10.107.0.2
check "over IPv6 too" in_vassal one ping -q -c 2 -i 0.2 -W 2 fd00:107::3
check "the host reaches it" ping -q -c 2 -i 0.2 -W 2 10.107.0.2

# ---- adoption
maps=$(map uid_map)/$(map gid_map)
kill_emperor
check "after a kill -9 another emperor gets ready" start_emperor
check "and has the same process" same_pid one "$pid"
check "with the same maps" is "$maps" echo "$(map uid_map)/$(map gid_map)"
check "and its network" in_vassal two ping -q -c 2 -i 0.2 -W 2 10.107.0.2
check "an upgrade" "$EMPEROR" upgrade --config "$SETTINGS"
check "has the same process too" same_pid one "$pid"
check "and its network" in_vassal two ping -q -c 2 -i 0.2 -W 2 10.107.0.2

# ---- beside whatever else a definition can say, and without a pid namespace
cat >"$PUB/ready.py" <<'P'
import os, socket, time
print("who", os.getuid(), os.geteuid(), flush=True)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
    s.sendto(b"READY=1\nSTATUS=root inside", "\0" + os.environ["NOTIFY_SOCKET"][1:])
if os.fork() == 0:
    os.setsid()
    print("child", flush=True)
time.sleep(1e9)
P
drop_vassal three <<Y
command: [$PYTHON, $PUB/ready.py]
namespaces: [user]
ready: notify
limits: {pids: 20, core: 0}
stop: {timeout: 1s}
hooks:
  pre_start: [/bin/sh, -c, "tr -s ' ' </proc/\$MINI_EMPEROR_PID/uid_map >$W/hook"]
  post_stop: [/bin/sh, -c, "echo \$MINI_EMPEROR_UID \$MINI_EMPEROR_END_SIGNAL >$W/stopped"]
Y
check "without a user of its own it is nobody outside" wait_running three
nobody=$(id -u nobody)
pid=$(vassal_pid three)
check "and root inside" wait_for 10 grep -qx "who 0 0" "$LOGS/three.log"
check "its hook before the start finds it mapped" is " 0 $nobody 1" cat "$W/hook"
check "it is nobody" is "$nobody" stat -c %u "/proc/$pid"
check "it has no capability" is 0000000000000000 awk '/^CapEff/{print $2}' "/proc/$pid/status"
check "nor can have one" is 0000000000000000 awk '/^CapBnd/{print $2}' "/proc/$pid/status"
check "it is heard" wait_for 10 vassal_field three '.ready and .status == "root inside"'
wait_for 10 grep -qx child "$LOGS/three.log"
rm "$VASSALS/three.yaml"
check "it can be stopped, with what it left its session to" wait_gone three
alive() { pgrep -f "$PUB/[r]eady.py"; }
check "whole" wait_for 5 fails alive
check "its hook after the end has run, with the user outside" wait_for 5 is "$nobody 15" cat "$W/stopped"

# ---- its end
rm "$VASSALS/one.yaml"
check "the first can be stopped" wait_gone one
rm "$VASSALS/two.yaml"
wait_gone two
check "the emperor ends with 0" stop_emperor
check "the host is as it was" wait_for 5 is "$before" belongings

# ---- where owners are tenants
mkdir "$W/homes"
install -d -o 4242 -g 4242 "$W/homes/alice"
printf 'run_as_owner: true\nvassals: %s\n' "$W/homes/alice" >>"$SETTINGS"
mark
"$EMPEROR" run --config "$SETTINGS" </dev/null >/dev/null 2>>"$LOG" &
EMPEROR_PID=$!
wait_for 15 logged "emperor ready"
# put NAME <YAML: alice's own shell writes it.
put() { setpriv --reuid 4242 --regid 4242 --clear-groups -- sh -c 'umask 022; cat >"$0.tmp" && mv "$0.tmp" "$0.yaml"' "$W/homes/alice/$1"; }
put hers <<Y
command: [/bin/sh, -c, "id -u; cat $W/roots; echo end; exec sleep infinity"]
namespaces: [pid, mount, uts, ipc, cgroup, user]
Y
check "a tenant's vassal can have a user namespace" wait_running hers
pid=$(vassal_pid hers)
check "in all of these namespaces it is not the emperor's" is 7 \
  sh -c "for kind in user net pid mnt uts ipc cgroup; do [ /proc/$pid/ns/\$kind -ef /proc/$EMPEROR_PID/ns/\$kind ] || echo \$kind; done | wc -l"
check "root is its owner, with her subordinates" is "0 4242 1 1 300000 100" map uid_map
check "it is root inside" wait_for 10 grep -qx 0 "$LOGS/hers.log"
check "and cannot read what is root's" wait_for 10 sh -c "grep -qx end $LOGS/hers.log && ! grep -q secret $LOGS/hers.log"
check "it has no capability" is 0000000000000000 awk '/^CapEff/{print $2}' "/proc/$pid/status"
mark
put greedy <<Y
command: [/bin/sleep, infinity]
namespaces: [pid, mount, uts, ipc, user]
capabilities: [SYS_ADMIN]
Y
check "capabilities are the operator's here, too" wait_for 10 logged greedy.yaml '`capabilities` is not the owner'
rm "$W/homes/alice/"*.yaml
check "her vassal ends with its file" wait_gone hers
check "the emperor ends with 0" stop_emperor
check "nothing is left" wait_for 5 is "$before" belongings

# ---- an emperor whose program nobody but its owner may execute, and root because nothing stops him
install -o 4242 -g 4242 -m 0700 "$EMPEROR" "$W/private"
printf 'router: {address: 10.107.0.1/24}\ndefaults: {restart: {delay: 100ms, max_delay: 200ms}}\n' >"$SETTINGS"
EMPEROR=$W/private
start_emperor
drop_vassal usual <<<"{command: [/bin/sleep, infinity], log: {to: none}}"
check "the usual kind runs" wait_running usual
drop_vassal own <<<"{command: [/bin/sleep, infinity], namespaces: [pid, mount, user], log: {to: none}}"
check "one with a user namespace does not; why, and what to do, is said" \
  wait_for 15 logged name=own "$W/private" EACCES "chmod o+x"
chmod o+x "$W/private"
check "when that is done, it runs" wait_running own
rm "$VASSALS/own.yaml" "$VASSALS/usual.yaml"
wait_gone own
wait_gone usual
check "the emperor ends with 0 again" stop_emperor
check "nothing is left again" wait_for 5 is "$before" belongings
