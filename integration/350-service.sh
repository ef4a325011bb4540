# As a service of systemd: what the emperor tells its service manager, and the unit file.
#
#   emperor ── NOTIFY_SOCKET ──▶ fake service manager: READY STATUS WATCHDOG RELOADING STOPPING

. "$(dirname "$0")/lib.sh"
notify() { "$PYTHON" "$HERE/notify.py" "$@"; }
HERE=$(dirname "$0")
SAID=$W/said-to-manager
"$PYTHON" "$HERE/notify.py" listen "$W/notify" "$SAID" & bystander $!
wait_for 5 test -S "$W/notify"
export NOTIFY_SOCKET=$W/notify
told() { # told TEXT…: one message holds every TEXT
  local found text
  found=$(tail -n "+$((FROM + 1))" "$SAID")
  for text; do found=$(grep -F -e "$text" <<<"$found") || { echo "not told: $*"; tail -n 5 "$SAID"; return 1; }; done
}
from_here() { FROM=$(wc -l <"$SAID"); }
count() { tail -n "+$((FROM + 1))" "$SAID" | grep -cF "$1" || true; }
FROM=0

for n in 1 2 3; do drop_vassal "v$n" <<<'{command: [/bin/sleep, infinity]}'; done
start_emperor
check "READY comes when the router has its uplink" wait_for 10 told READY=1 uplink=True
check "and all files have been read" says "STATUS=3 vassals" grep -m 1 -B 1 -F READY=1 "$SAID"
check "once" is 1 count READY=1
check "STATUS counts the vassals" wait_for 5 told "STATUS=3 vassals, 3 running, 0 failed"
printf '{command: [/bin/false], restart: {policy: never}}' | drop_vassal failing
check "and those that failed" wait_for 5 told "STATUS=4 vassals, 3 running, 1 failed"
rm "$VASSALS/failing.yaml"
wait_for 5 fails test -e "$RUN/state/failing.json"
# What its start has set in motion takes a moment: the last status line, a kernel's first packets and their counters.
asleep() { local before; before=$(notify wakeups "$EMPEROR_PID"); sleep 4; is "$before" notify wakeups "$EMPEROR_PID"; }
check "no watchdog was asked for: an idle emperor does not wake up" wait_for 20 asleep
check "and says nothing of one" is 0 count WATCHDOG

from_here
clock() { "$PYTHON" -c 'import time; print(time.monotonic_ns() // 1000)'; }
before=$(clock)
kill -HUP "$EMPEROR_PID"
check "SIGHUP: RELOADING and the moment in one message" wait_for 5 told RELOADING=1 MONOTONIC_USEC=
after=$(clock)
moment=$(tail -n "+$((FROM + 1))" "$SAID" | grep -o 'MONOTONIC_USEC=[0-9]*' | head -n 1 | cut -d= -f2)
check "which is that of the signal" test "$moment" -ge "$before" -a "$moment" -le "$after"
check "then READY" wait_for 5 sh -c "tail -n +$((FROM + 1)) $SAID | grep -A9 RELOADING | grep -q READY=1"

from_here
check "an upgrade" "$EMPEROR" upgrade --config "$SETTINGS"
check "is a reload to the service manager" wait_for 5 told RELOADING=1 MONOTONIC_USEC=
check "that ends with READY" wait_for 5 told READY=1 uplink=True
check "it was never stopping" is 0 count STOPPING
from_here
check "the emperor ends with 0" stop_emperor
check "STOPPING is said" wait_for 5 told STOPPING=1

# ---- the watchdog
from_here
begun=$(now_ms)
WATCHDOG_USEC=400000 start_emperor
sleep 2
fed=$(count WATCHDOG=1) ms=$(($(now_ms) - begun))
note "fed $fed times in $ms ms, asked for: once in 400 ms"
check "the watchdog is fed twice as often as asked" test "$fed" -ge $((ms / 300)) -a "$fed" -le $((ms / 200 + 2))
notify freeze "$EMPEROR_PID" router-0 6 & frozen=$!
bystander $frozen
check "a router thread that stands still is noticed" wait_for 5 logged "a router thread does not turn"
sleep 0.5 # until what was said before has arrived
from_here
sleep 1.5
check "while it does the watchdog is not fed" is 0 count WATCHDOG=1
wait $frozen
from_here
check "when it turns again it is" wait_for 5 told WATCHDOG=1
stop_emperor
from_here
WATCHDOG_USEC=400000 WATCHDOG_PID=1 start_emperor
sleep 1
check "a watchdog that is meant for another process is not fed" is 0 count WATCHDOG
stop_emperor
unset NOTIFY_SOCKET

# ---- the unit
unit=$W/mini-emperor.service
# What vassals and adoption depend on; the file is valid without each of them.
for setting in Type=notify-reload WatchdogSec=30s KillMode=process Delegate=yes DelegateSubgroup=mini-emperor-supervisor; do
  check "the unit file says $setting" grep -qx "$setting" "$HERE/systemd/mini-emperor.service"
done
mkdir -p "$W/local"
mount --bind "$W/local" /usr/local/bin
cp "$MINI_EMPEROR" /usr/local/bin/mini-emperor
cp "$HERE/systemd/mini-emperor.service" "$unit"
if ! command -v systemd-analyze >/dev/null; then
  skip "the unit file is valid" "no systemd-analyze here"
else
  version=$(systemd-analyze --version | awk 'NR == 1 {print $2}')
  note "systemd $version"
  if [ "$version" -lt 253 ]; then
    # What the file itself says to do there.
    sed -i 's|^Type=notify-reload|Type=notify\nExecReload=/bin/kill -HUP $MAINPID|' "$unit"
  fi
  if [ "$version" -lt 254 ]; then sed -i '/^DelegateSubgroup=/d' "$unit"; fi # it would be ignored, with a warning
  check "the unit file is valid" is "" sh -c "systemd-analyze verify --man=no '$unit' 2>&1 | grep -F mini-emperor.service"
fi
