# User namespaces below a user namespace: of an emperor that is not root, and of one that somebody made root of little.
#
#   +-- host -------------------------------------------------+
#   |  uid 4242                                               |
#   |  +-- user namespace of the emperor, 0 = 4242 ---------+ |
#   |  |  emperor     +-- of the vassal, 0 = 0 ----------+  | |
#   |  |              |  one                             |  | |
#   |  |              +----------------------------------+  | |
#   |  +----------------------------------------------------+ |
#   +---------------------------------------------------------+

. "$(dirname "$0")/lib.sh"

be_user
map() { tr -s ' \n' ' ' <"/proc/$1/$2" | sed 's/^ //; s/ $//'; }
before=$(belongings)

# ---- without root
drop_vassal one <<Y
command: [/bin/sh, -c, "id -u; exec sleep infinity"]
namespaces: [pid, mount, uts, ipc, cgroup, user]
capabilities: [NET_ADMIN]
network: {address: 10.107.0.2}
Y
start_as_user
wait_running one
pid=$(vassal_pid one)
users=$(readlink "/proc/$EMPEROR_PID/ns/user")
check "a vassal of an emperor without root has a user namespace" fails is "$users" readlink "/proc/$pid/ns/user"
check "below the emperor's" is "$users" "$PYTHON" -c 'import fcntl, os, sys
fd = fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0xb702)
print("user:[%d]" % os.fstat(fd).st_ino)' "/proc/$pid/ns/user"
check "root in it is who started the emperor" is "0 $ID 1" map "$pid" uid_map
check "and his group" is "0 $ID 1" map "$pid" gid_map
check "inside it is root" wait_for 5 grep -qx 0 "$W/home/.local/state/mini-emperor/log/one.log"
check "outside it is he" is $ID stat -c %u "/proc/$pid"
check "with the capability that it was given" is 0000000000001000 awk '/^CapEff/{print $2}' "/proc/$pid/status"
check "it pings the gateway" in_vassal one ping -q -c 2 -i 0.2 -W 2 10.107.0.1

# ---- adoption: everything that is left is below the namespace that the next emperor needs
kill_emperor
check "the next emperor gets ready" start_as_user
check "with the same vassal" same_pid one "$pid"
check "in the user namespace of the first, not in the vassal's" is "$users" readlink "/proc/$EMPEROR_PID/ns/user"
check "the vassal's maps are what they were" is "0 $ID 1" map "$pid" uid_map
check "its network too" in_vassal one ping -q -c 2 -i 0.2 -W 2 10.107.0.1
check "an upgrade" "${AS_USER[@]}" "$EMPEROR" upgrade --config "$SETTINGS"
check "has the same vassal" same_pid one "$pid"
check "and its network" in_vassal one ping -q -c 2 -i 0.2 -W 2 10.107.0.1
rm "$VASSALS/one.yaml"
check "it can end it" wait_gone one
check "the emperor ends with 0" stop_emperor
check "the host is as it was" wait_for 5 is "$before" belongings

# ---- root of a namespace with two ids, which allows a few more namespaces or none
settle_at_home "{stop: {signal: KILL}, restart: {delay: 100ms, max_delay: 200ms}}"
another() { ! [ "/proc/$EMPEROR_PID/ns/user" -ef /proc/self/ns/user ]; }
mkfifo -m 0666 "$W/home/go"
mark
setpriv --reuid $ID --regid $ID --clear-groups -- unshare --user --net -- \
  sh -c "read -r go <$W/home/go; ip link set lo up; exec '$EMPEROR' run '$VASSALS' --config '$SETTINGS'" \
  </dev/null >/dev/null 2>>"$LOG" &
EMPEROR_PID=$!
wait_for 15 another
printf '0 %d 1\n7 4343 1\n' $ID >"$W/map"
# The kernel wants it in one write.
for map in uid_map gid_map; do cat "$W/map" >"/proc/$EMPEROR_PID/$map"; done
# What no emperor can give that has two ids.
for file in subuid subgid; do
  echo 7:300000:100 >"$W/$file"
  [ -e /etc/$file ] || : >/etc/$file
  mount --bind "$W/$file" /etc/$file
done
echo go >"$W/home/go"
wait_for 15 logged "emperor ready"
inside() { nsenter --user="/proc/$EMPEROR_PID/ns/user" -- "$@"; }
inside sh -c 'echo 0 >/proc/sys/user/max_user_namespaces'
mark
# What the files of ids say counts when a definition is read; so each is another one.
late() { printf '%s\n' "command: [/bin/sh, -c, 'touch $PUB/ran; exec sleep infinity']" 'user: "7"' 'group: "7"' \
  "env: {READ: '$1'}" 'namespaces: [pid, mount, user]' | drop_vassal late; }
late first
check "where there may be no user namespaces, a birth fails, says why and what to do" \
  wait_for 15 logged name=late "a user namespace" ENOSPC "raise user.max_user_namespaces"
inside sh -c 'echo 100 >/proc/sys/user/max_user_namespaces'
mark
check "where the emperor has not all that the files set aside, that is said" \
  wait_for 15 logged name=late "giving users and groups" EPERM "/etc/subuid and /etc/subgid"
check "and its command has never run" fails test -e "$PUB/ran"
umount /etc/subuid
umount /etc/subgid
late again
check "without them it runs" wait_running late
check "as user 7 of the emperor's, who is root in it" is "0 4343 1" map "$(vassal_pid late)" uid_map
# nobody, whom a definition without a user means, is no id of this emperor's.
mark
drop_vassal default <<<"{command: [/bin/sleep, infinity], user: nobody, group: '7', namespaces: [user]}"
check "a user whom the emperor's namespace does not know is named; where, and what to do, is said" \
  wait_for 15 logged name=default "user $(id -u nobody):" EINVAL /proc/self/uid_map "name another"
mark
drop_vassal default <<<"{command: [/bin/sleep, infinity], user: '7', group: '8'}"
check "so is a group, with or without a namespace of the vassal's own" \
  wait_for 15 logged name=default "group 8:" EINVAL gid_map "name another"
rm "$VASSALS/default.yaml"
wait_gone default
rm "$VASSALS/late.yaml"
wait_gone late
check "the emperor ends with 0" stop_emperor
check "the host is as it was" wait_for 5 is "$before" belongings
