# Without root: the emperor enters a user and a network namespace of its own, and its vassals reach each other.
#
#   +-- host ---------------------------------------------+
#   |  uid 4242 starts mini-emperor                       |
#   |  +-- user + network namespace of the emperor -----+ |
#   |  |  emperor0 10.107.0.1 -- router -- one 10.107.0.2 |
#   |  |                               \-- two 10.107.0.3 |
#   |  +------------------------------------------------+ |
#   +-----------------------------------------------------+

. "$(dirname "$0")/lib.sh"

ID=4242
RUN=/run/user/$ID/mini-emperor
mkdir -p /run/user/$ID "$W/home"
chmod 700 /run/user/$ID
# The definitions and the program are the user's own.
mkdir "$W/own"
: >"$W/own/mini-emperor"
mount --bind "$MINI_EMPEROR" "$W/own/mini-emperor"
EMPEROR=$W/own/mini-emperor
chown -R $ID:$ID /run/user/$ID "$W/home" "$VASSALS" "$PUB"
# The tun device as other systems have it, visible only here.
mkdir "$W/dev"
mount -t tmpfs -o mode=0755 scenario "$W/dev"
mknod -m 0666 "$W/dev/tun" c 10 200
mount --bind "$W/dev/tun" /dev/net/tun
printf 'router: {address: [10.107.0.1/24, "fd00:107::1/64"]}\ndefaults: {stop: {signal: KILL}}\n' >"$SETTINGS"

# become COMMAND…: this shell becomes it, as the user; so that a job's pid is the command's own.
become() {
  exec setpriv --reuid $ID --regid $ID --clear-groups --inh-caps=-all -- \
    env -i PATH=/usr/bin:/bin:/usr/sbin:/sbin HOME="$W/home" XDG_RUNTIME_DIR=/run/user/$ID "$@"
}
as_user() { (become "$@"); }
refusal() { as_user timeout 10 "$@" run "$VASSALS" --config "$SETTINGS" 2>&1 || true; }

for n in 2 3; do
  drop_vassal "v$n" <<Y
command: [mini-emperor, demo, serve, --port, "8080"]
network: {address: [10.107.0.$n, "fd00:107::$n"]}
Y
done
before=$(belongings)
: >"$LOG"
mark
become "$EMPEROR" run "$VASSALS" --config "$SETTINGS" </dev/null >/dev/null 2>>"$LOG" &
EMPEROR_PID=$!
check "it gets ready" wait_for 15 logged "emperor ready"
check "it says how it runs, in one line" logged "not root" "user namespace of its own" "not the outside"
check "v2 runs" wait_running v2
check "v3 runs" wait_running v3
check "the host has no interface of it" fails ip link show emperor0
check "the vassal is nobody else on the host" is $ID stat -c %u "/proc/$(vassal_pid v2)"
check "one vassal reaches another" wait_for 5 says "you are 10.107.0.2" in_vassal v2 curl -sS -m 5 http://10.107.0.3:8080/
check "over IPv6 too" wait_for 5 says "you are fd00:107::2" in_vassal v2 curl -gsS -m 5 'http://[fd00:107::3]:8080/'
check "nothing outside is reached" fails in_vassal v2 ping -q -c 1 -W 1 198.51.100.1
check "it pings the gateway" in_vassal v2 ping -q -c 2 -i 0.2 -W 2 10.107.0.1
check "it is in a network namespace of its own" fails is "$(stat -Lc %i /proc/$EMPEROR_PID/ns/net)" \
  stat -Lc %i "/proc/$(vassal_pid v2)/ns/net"
check "it has no capability" is 0000000000000000 awk '/^CapEff/{print $2}' "/proc/$(vassal_pid v2)/status"
pid=$(vassal_pid v2)
printf 'command: [/bin/sleep, infinity]\nuser: daemon\n' | drop_vassal other
check "another user is refused, with what it takes" wait_for 10 logged other.yaml "error:" /etc/subuid
check "and only that file" same_pid v2 "$pid"
rm "$VASSALS/other.yaml"
kill -TERM "$EMPEROR_PID"
check "it ends with 0" wait "$EMPEROR_PID"
EMPEROR_PID=
check "the host is as it was" wait_for 5 is "$before" belongings

# ---- what it says where it is not allowed
chmod 0600 "$W/dev/tun"
check "without access to the tun device: that is said" says "/dev/net/tun" refusal "$EMPEROR"
check "with what to do" says "chmod 0666 /dev/net/tun" refusal "$EMPEROR"
chmod 0666 "$W/dev/tun"
mount -t tmpfs scenario /dev/net
check "without any tun device: that is said" says "/dev/net/tun" refusal "$EMPEROR"
check "with what to do" says "modprobe tun" refusal "$EMPEROR"
lines() { "$@" | wc -l; }
check "in one line" is 1 lines refusal "$EMPEROR"
umount /dev/net
# A changed root directory is one of the cases in which the kernel refuses user namespaces with EPERM
# (user_namespaces(7)), as system-wide switches and AppArmor do.
mkdir "$W/jail"
mount --rbind / "$W/jail"
jailed() {
  chroot "$W/jail" setpriv --reuid $ID --regid $ID --clear-groups --inh-caps=-all -- \
    env -i PATH=/usr/bin:/bin HOME="$W/home" XDG_RUNTIME_DIR=/run/user/$ID \
    timeout 10 "$EMPEROR" run "$VASSALS" --config "$SETTINGS" 2>&1 || true
}
check "without user namespaces: that is said, with what to do" \
  says "allow unprivileged user namespaces" jailed
check "in one line" is 1 lines jailed
check "and the host is as it was" wait_for 5 is "$before" belongings
