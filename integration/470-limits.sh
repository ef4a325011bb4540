# What a vassal may use of the machine, with everything that it starts: held, changed while it runs, and nothing left.
#
#   /sys/fs/cgroup/{memory,cpu,pids}/…/mini-emperor.NAME.LIFE.TOKEN ── the vassal's processes
# timeout: 180

. "$(dirname "$0")/lib.sh"

# Everything that any emperor has made in any tree; only the scenario's own emperor runs in this PID namespace, but
# others may on this machine.
cages() { find /sys/fs/cgroup -type d -name "mini-emperor.$1.*" 2>/dev/null | sort; }
# cage NAME FILE: what the kernel says in a file of it, in whichever tree has that file.
cage() {
  local path
  while read -r path; do
    [ ! -e "$path/$2" ] || { cat "$path/$2"; return; }
  done < <(cages "$1")
  echo "no $2 of $1"; return 1
}
# limit NAME WORD: of memory, cpu or pids, in the words of version 1 or 2.
limit() {
  case $2 in
    memory) cage "$1" memory.limit_in_bytes || cage "$1" memory.max ;;
    cpu) cage "$1" cpu.cfs_quota_us || cage "$1" cpu.max | cut -d' ' -f1 ;;
    pids) cage "$1" pids.max ;;
  esac 2>/dev/null | tail -n 1
}
in_cage() { cage "$1" cgroup.procs | grep -qx "$2" || { cage "$1" cgroup.procs; return 1; }; }
throttled() { cage "$1" cpu.stat | sed -n 's/^nr_throttled //p'; }

KIND=limit$$-$RANDOM # no other scenario on this machine has vassals of that name
a=$KIND-a b=$KIND-b

# ---- memory
cat >"$PUB/eat.py" <<'P'
# Takes memory, a MiB at a time, until there are as many as the file says; then tells how many it has.
import sys, time
path, has = sys.argv[1], []
while True:
    wanted = int(open(path).read())
    while len(has) < wanted:
        has.append(bytes(range(256)) * 4096)
    with open(path + ".has", "w") as f:
        f.write(str(len(has)))
    time.sleep(0.05)
P
has() { is "$1" cat "$PUB/$a.has"; }
eater() { # eater LIMITS
  drop_vassal "$a" <<Y
command: [$PYTHON, $PUB/eat.py, $PUB/$a]
restart: {delay: 3s, max_delay: 3s}
limits: $1
Y
}
echo 20 >"$PUB/$a"; : >"$PUB/$a.has"; chmod 666 "$PUB/$a" "$PUB/$a.has"
eater "{memory: 100MiB}"
start_emperor
wait_running "$a"
pid=$(vassal_pid "$a")
check "a vassal has what it may" wait_for 15 has 20
check "the kernel knows its limit" is $((100 << 20)) limit "$a" memory
check "only a tree that is needed has a cgroup for it" is 1 bash -c "ls -d $(cages "$a" | tr '\n' ' ') | wc -l"
mark
echo 200 >"$PUB/$a"
check "one that wants more is killed, and it is said why" \
  wait_for 20 logged "vassal ended" "name=$a" "needed more memory than \`limits.memory\`"
echo 20 >"$PUB/$a" # in the pause before it is started anew
check "so does its status" status_says "$a" "needed more memory than \`limits.memory\`"
check "and started anew" wait_running "$a" "$pid"
pid=$(vassal_pid "$a")
wait_for 15 has 20
check "the cgroup of its earlier life is gone" is 1 bash -c "find /sys/fs/cgroup -type d -name 'mini-emperor.$a.*' | wc -l"

# ---- changed while it runs
mark
eater "{memory: 400MiB, cpu: 0.25, pids: 50}"
check "limits are changed" wait_for 10 logged "vassal updated while it runs" "name=$a"
check "memory" wait_for 10 is $((400 << 20)) limit "$a" memory
check "processor time, which had none" wait_for 10 is 25000 limit "$a" cpu
check "processes, which had none" wait_for 10 is 50 limit "$a" pids
for tree in $(cages "$a"); do check "it is in ${tree%/mini-emperor.*}" wait_for 10 in_cage "$a" "$pid"; done
echo 200 >"$PUB/$a"
check "it has more now" wait_for 30 has 200
check "as the same process" same_pid "$a" "$pid"
mark
eater "{memory: 8MiB, cpu: 0.25, pids: 50}"
check "what cannot be is refused" wait_for 15 logged "its limits stay as they were" "limiting the memory of $a"
check "the old limit holds" is $((400 << 20)) limit "$a" memory
check "the vassal goes on" same_pid "$a" "$pid"
mark
kill -USR1 "$EMPEROR_PID"
check "and the status has the problem" wait_for 5 logged "problem" "$a.yaml" "its limits stay as they were"
check "in the vassal's line, too" status_says "$a" 'trouble="its limits stay as they were'
mark
eater "{memory: none, cpu: 0.25, pids: 50}"
check "a limit can be taken away" wait_for 10 logged "vassal updated while it runs" "name=$a"
unlimited() { case $(limit "$1" memory) in max | 9223372036854771712) ;; *) limit "$1" memory; return 1 ;; esac; }
check "it is" wait_for 10 unlimited "$a"
check "as the same process" same_pid "$a" "$pid"
check "and nothing is wrong with it any more" is 0 vassal_field "$a" '.troubles | length'

# ---- processor time and processes, of a whole tree
cat >"$PUB/breed.py" <<'P'
# Starts processes that turn, until the kernel refuses; then says how many there are and with which errno it ended.
import os, sys, time
n = 0
try:
    while n < 200:
        if os.fork() == 0:
            while True:
                pass
        n += 1
except OSError as e:
    with open(sys.argv[1], "w") as f:
        f.write(f"{n} {e.errno}")
while True:
    time.sleep(1)
P
: >"$PUB/bred"; chmod 666 "$PUB/bred"
drop_vassal "$b" <<Y
command: [$PYTHON, $PUB/breed.py, $PUB/bred]
limits: {cpu: 0.2, pids: 5}
Y
wait_running "$b"
check "no more processes than it may have, EAGAIN" wait_for 20 is "4 11" cat "$PUB/bred"
check "the kernel says so" more_than 0 bash -c "sed -n 's/^max //p' \$(find /sys/fs/cgroup -path '*mini-emperor.$b.*/pids.events')"
turns_away() { more_than 5 throttled "$b"; }
check "it is held to its share of a core" wait_for 20 turns_away
bred=$(vassal_pid "$b")

# ---- over the death of an emperor
mark
kill -KILL "$EMPEROR_PID"; wait "$EMPEROR_PID" || true
before=$(cages "$b"; cages "$a")
start_emperor
check "another emperor goes on with it" same_pid "$b" "$bred"
check "in the same cgroups" is "$before" bash -c "find /sys/fs/cgroup -type d -name 'mini-emperor.$b.*' | sort; find /sys/fs/cgroup -type d -name 'mini-emperor.$a.*' | sort"
mark
drop_vassal "$b" <<Y
command: [$PYTHON, $PUB/breed.py, $PUB/bred]
limits: {cpu: 0.5, pids: 5}
Y
check "whose limits can be changed" wait_for 10 logged "vassal updated while it runs" "name=$b"
check "they are" wait_for 10 is 50000 limit "$b" cpu
kill -KILL "$EMPEROR_PID"; wait "$EMPEROR_PID" || true
rm "$VASSALS/$b.yaml"
start_emperor
wait_gone "$b"
check "nothing is left of a vassal that was removed meanwhile" wait_for 10 is "" cages "$b"

# ---- limits that come to a whole tree which had none, and no pid namespace
drop_vassal "$b" <<Y
command: [/bin/sh, -c, "(sleep 1000 & sleep 1000) & sleep 1000 & wait"]
namespaces: [mount]
Y
wait_running "$b"
of_the_tree() { cage "$b" cgroup.procs | wc -l; }
wait_for 10 more_than 3 of_the_tree
mark
drop_vassal "$b" <<Y
command: [/bin/sh, -c, "(sleep 1000 & sleep 1000) & sleep 1000 & wait"]
namespaces: [mount]
limits: {pids: 20}
Y
check "a limit is given to a tree that had none" wait_for 10 logged "vassal updated while it runs" "name=$b"
all_caged() { is "$(of_the_tree)" cat "$(find /sys/fs/cgroup -path "*mini-emperor.$b.*/pids.current")"; }
check "all its processes are under it" wait_for 10 all_caged
rm "$VASSALS/$b.yaml"
wait_gone "$b"
check "and nothing is left" wait_for 10 is "" cages "$b"

# ---- limits of each process
drop_vassal "$b" <<Y
command: [/bin/sleep, infinity]
limits: {nofile: 123, core: 0}
Y
wait_running "$b"
bred=$(vassal_pid "$b")
limits_of() { awk '/^Max (open files|core file size)/ {print $(NF-2), $(NF-1)}' "/proc/$1/limits"; }
check "descriptors and core files are limited" is $'0 0\n123 123' limits_of "$bred"
check "without a cgroup" is "" cages "$b"
drop_vassal "$b" <<Y
command: [/bin/sleep, infinity]
limits: {nofile: 124}
Y
check "a change of these is a restart" wait_running "$b" "$bred"

check "the emperor ends with 0" stop_emperor
check "nothing is left" is "" cages "$KIND-*"
check "nothing is left in the run directory" fails test -e "$RUN"

# ---- what this kernel cannot do
umount -l /sys/fs/cgroup/pids /sys/fs/cgroup/unified 2>/dev/null || umount -l /sys/fs/cgroup
drop_vassal "$b" <<Y
command: [/bin/sleep, infinity]
limits: {pids: 5}
Y
rm -f "$VASSALS/$a.yaml"
check "a definition is good wherever it is looked at" "$EMPEROR" check "$VASSALS/$b.yaml" --config "$SETTINGS"
start_emperor
check "a controller that is missing is named" \
  wait_for 10 logged "vassal failed" "name=$b" "limiting the number of processes of $b" "no \`pids\` controller"
check "and nothing runs without its limit" gone "$b"
drop_vassal "$b" <<<"command: [/bin/sleep, infinity]"
wait_running "$b"
bred=$(vassal_pid "$b")
mark
drop_vassal "$b" <<Y
command: [/bin/sleep, infinity]
limits: {pids: 5}
Y
check "nor is it given to one that runs" wait_for 10 logged "its limits stay as they were" "no \`pids\` controller"
check "which goes on" same_pid "$b" "$bred"
check "the emperor ends with 0" stop_emperor
