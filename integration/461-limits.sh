# What the kernel counts for each user namespace: processes, namespaces, watches. The limits are set in a namespace that
# this scenario made, so nobody else's change.
#
#   +-- host -----------------------------------------------+
#   |  +-- user namespace, uid 4242 is root in it --------+ |
#   |  |  /proc/sys/user/max_*                  emperor   | |
#   |  +--------------------------------------------------+ |

. "$(dirname "$0")/lib.sh"

ID=4242
mkdir "$W/dev" "$W/home"
mount -t tmpfs -o mode=0755 scenario "$W/dev"
mknod -m 0666 "$W/dev/tun" c 10 200
mount --bind "$W/dev/tun" /dev/net/tun
mkdir "$W/own"
: >"$W/own/mini-emperor"
mount --bind "$MINI_EMPEROR" "$W/own/mini-emperor"
EMPEROR=$W/own/mini-emperor
chown -R $ID:$ID "$W/home" "$VASSALS" "$PUB"
settle_at_home "{stop: {signal: KILL}, restart: {delay: 100ms, max_delay: 1s}, user: root, group: root}"
# inside COMMAND…: as root of the emperor's user namespace.
inside() { nsenter --user="/proc/$EMPEROR_PID/ns/user" -- "$@"; }
limit() { inside sh -c "echo $2 >/proc/sys/user/$1"; }
in_another() { ! [ "/proc/$1/ns/user" -ef /proc/self/ns/user ]; }
# begin PRELUDE: an emperor that is root of a user namespace of uid 4242, once PRELUDE has been run in it.
begin() {
  : >>"$LOG"
  mark
  rm -f "$W/home/go"
  mkfifo -m 0666 "$W/home/go"
  setpriv --reuid $ID --regid $ID --clear-groups -- unshare --user --net -- \
    sh -c "read -r go <$W/home/go; exec sh -c \"ip link set lo up; $1; exec '$EMPEROR' run '$VASSALS' --config '$SETTINGS'\"" \
    </dev/null >/dev/null 2>>"$LOG" &
  EMPEROR_PID=$!
  wait_for 15 in_another "$EMPEROR_PID"
  echo "0 $ID 1" >"/proc/$EMPEROR_PID/uid_map"
  echo "0 $ID 1" >"/proc/$EMPEROR_PID/gid_map"
  echo go >"$W/home/go"
  wait_for 15 logged "emperor ready" || { echo "Bail out! the emperor does not get ready"; exit 1; }
}
others_go_on() {
  check "$1: who runs goes on" same_pid web "$WEB"
  check "$1: and answers" says hello nsenter -t "$EMPEROR_PID" -n curl -sS --noproxy '*' -m 5 http://10.107.0.10:8080/
}
serve() {
  drop_vassal web <<'Y'
command: [mini-emperor, demo, serve, --port, "8080", --text, hello]
network: {address: 10.107.0.10}
Y
  wait_running web
  WEB=$(vassal_pid web)
  wait_for 15 says hello nsenter -t "$EMPEROR_PID" -n curl -sS --noproxy '*' -m 5 http://10.107.0.10:8080/
}

begin :
serve
# ---- namespaces
limit max_net_namespaces 1
mark
drop_vassal late <<<"{command: [/bin/sleep, infinity]}"
check "no namespaces: a birth fails, says why and what to do" wait_for 15 logged "name=late" "ENOSPC" "raise user.max_net_namespaces"
others_go_on "no namespaces"
limit max_net_namespaces 1000
check "when there are, it runs" wait_running late
rm "$VASSALS/late.yaml"
wait_gone late

# ---- processes
mark
inside prlimit --pid "$EMPEROR_PID" --nproc=1:1000
drop_vassal late <<Y
command: [/bin/sleep, infinity]
hooks: {post_start: [/bin/true]}
Y
check "no processes: a birth fails and says why" wait_for 15 logged "name=late" "EAGAIN" "raise the emperor's limit (LimitNPROC="
others_go_on "no processes"
inside prlimit --pid "$EMPEROR_PID" --nproc=1000:1000
check "when there are, it runs" wait_running late
rm "$VASSALS/late.yaml"
wait_gone late
check "the emperor ends with 0" stop_emperor

# ---- processes, counted by a cgroup
begin :
wait_running web
WEB=$(vassal_pid web)
CGROUP=
own() { awk -F: -v OFS= "$1 {print \$3}" /proc/self/cgroup; }
if mount=$(awk '$3 == "cgroup" && $4 ~ /(^|,)pids(,|$)/ {print $2}' /proc/mounts | grep -m 1 .); then
  CGROUP=$mount$(own '$2 ~ /(^|,)pids(,|$)/')/mini-emperor.scenario.$RANDOM$RANDOM
elif grep -qsw pids "/sys/fs/cgroup$(own '$1 == 0')/cgroup.subtree_control"; then
  CGROUP=/sys/fs/cgroup$(own '$1 == 0')/mini-emperor.scenario.$RANDOM$RANDOM
fi
if [ -z "$CGROUP" ] || ! mkdir "$CGROUP"; then
  skip "the limit of a cgroup" "no pids controller here"
else
  trap 'leave_cgroup; finish' EXIT
  leave_cgroup() {
    local home=${CGROUP%/*}/cgroup.procs pid
    for pid in $(cat "$CGROUP/cgroup.procs"); do echo "$pid" >"$home" || true; done 2>/dev/null
    wait_for 15 rmdir "$CGROUP"
  }
  echo "$EMPEROR_PID" >"$CGROUP/cgroup.procs"
  cat "$CGROUP/pids.current" >"$CGROUP/pids.max"
  mark
  drop_vassal late <<<"{command: [/bin/sleep, infinity]}"
  check "a cgroup's limit: a birth fails, says why and what to do" wait_for 15 logged "name=late" "EAGAIN" "pids.max of its cgroup"
  others_go_on "a cgroup's limit"
  echo max >"$CGROUP/pids.max"
  check "when there are more, it runs" wait_running late
  leave_cgroup
  trap finish EXIT
fi
rm -f "$VASSALS/late.yaml"
wait_gone late
check "the emperor ends with 0" stop_emperor

# ---- inotify
begin "echo 0 >/proc/sys/user/max_inotify_instances"
check "no inotify: that is said" wait_for 5 logged "inotify refused" "read every second"
wait_running web
drop_vassal late <<<"{command: [/bin/sleep, infinity]}"
check "no inotify: a file is found all the same" wait_running late
rm "$VASSALS/late.yaml"
check "and missed" wait_gone late
limit max_inotify_instances 100
check "when there is one, it is used" wait_for 15 logged "inotify works again"
begun=$(now_ms)
drop_vassal late <<<"{command: [/bin/sleep, infinity]}"
check "and a file is found at once" wait_running late
note "after $(($(now_ms) - begun)) ms"
rm "$VASSALS/late.yaml"
check "the emperor ends with 0" stop_emperor
begin "echo 0 >/proc/sys/user/max_inotify_watches"
check "no watches: that is said, with the directory" wait_for 5 logged "$VASSALS refused" "read every second"
drop_vassal late <<<"{command: [/bin/sleep, infinity]}"
check "no watches: a file is found all the same" wait_running late
limit max_inotify_watches 100
check "when there are, they are used" wait_for 15 logged "$VASSALS works again"
said() { grep -c "refused" <(news); }
check "and all this is said once" is 1 said
check "the emperor ends with 0" stop_emperor
check "nothing is left" wait_for 15 is "" processes
