# An upgrade, or an end with on_exit: keep, while hooks run: each has its time and runs once, and the emperor is not
# deaf meanwhile.
#
#   the hook ────────────────────┐ let go
#   upgrade ─────────────────────┴─▶ exec
#       an exit with 26, a crash, a signal: dealt with in between

. "$(dirname "$0")/lib.sh"

H=$W/hooks
mkdir "$H"
# A hook that says that it began, waits until it is let go, and says that it has ended.
cat >"$H/slow" <<'S'
#!/bin/sh
echo "$MINI_EMPEROR_HOOK begins" >>"$1"
until [ -e "$1.go" ]; do sleep 0.02; done
echo "$MINI_EMPEROR_HOOK ends" >>"$1"
S
chmod +x "$H/slow"
cp "$MINI_EMPEROR" "$W/second"
chmod 0755 "$W/second"
echo "on_exit: keep" >>"$SETTINGS"

# A vassal that exits with 26 when it is told to: it must never be started again.
drop_vassal quitter <<'Y'
command: [/bin/sh, -c, "trap 'exit 26' USR1; while :; do sleep 0.02; done"]
Y
drop_vassal crasher <<<"{command: [/bin/sleep, infinity]}"
slow_vassal() { # slow_vassal NAME HOOK
  drop_vassal "$1" <<<"{command: [/bin/sleep, infinity], hooks: {$2: {command: [$H/slow, $H/$1], timeout: 60s}}}"
}
start_emperor
all="quitter crasher"
for name in $all; do wait_running "$name"; done
wait_for 10 heeds quitter USR1
began() { grep -qx "$2 begins" "$H/$1"; }
once() { is "$2 begins
$2 ends" cat "$H/$1"; }
ask() { # in the background, until the hooks are let go
  mark
  "$W/second" upgrade --config "$SETTINGS" >"$W/answer" 2>&1 & ASKED=$!
  bystander $ASKED
  wait_for 10 logged "upgrading as soon as"
}

# ---- a post_stop
slow_vassal stopped post_stop
wait_running stopped
rm "$VASSALS/stopped.yaml"
check "a post_stop runs" wait_for 10 began stopped post_stop
ask
quitter=$(vassal_pid quitter) crasher=$(vassal_pid crasher)
kill -USR1 "$quitter"
check "while the upgrade waits for it, an end is heard" wait_for 5 logged name=quitter "exited with code 26"
kill -KILL "$crasher"
check "and another" wait_for 5 logged name=crasher "killed by signal 9"
check "a signal is obeyed" status_says quitter 'last_end="exited with code 26"'
check "and the upgrade still waits" kill -0 $ASKED
touch "$H/stopped.go"
check "when the hook has ended, it is done" wait $ASKED
check "by the other binary" says "$W/second" cat "$W/answer"
check "the hook ran once, to its end" once stopped post_stop
check "the one that crashed runs again" wait_running crasher "$crasher"
check "the one that said 26 does not" status_says quitter pid=0 'last_end="exited with code 26"'

# ---- a pre_start
slow_vassal born pre_start
check "a pre_start runs" wait_for 10 began born pre_start
ask
drop_vassal later <<<"{command: [/bin/sleep, infinity]}"
check "a file that comes meanwhile is seen" wait_for 10 status_says later state=starting
check "its birth waits, like the upgrade" kill -0 $ASKED
touch "$H/born.go"
check "when the vassal is born, the upgrade is done" wait $ASKED
check "the hook ran once, to its end" once born pre_start
check "both vassals run" eval "wait_running born && wait_running later"

# ---- whoever asked does not wait any more
slow_vassal patient post_start
check "a post_start runs" wait_for 10 began patient post_start
mark
check "an upgrade that has no time left is given up" fails "$W/second" upgrade --config "$SETTINGS" --timeout 1
touch "$H/patient.go"
check "and not done later" wait_for 10 logged "waits no more"
check "the emperor goes on" settled

# ---- on_exit: keep
for signal in TERM INT; do
  slow_vassal "kept$signal" post_start
  check "a post_start runs, and SIG$signal comes" wait_for 10 began "kept$signal" post_start
  mark
  kill -$signal "$EMPEROR_PID"
  crasher=$(vassal_pid crasher)
  kill -KILL "$crasher"
  check "an end is heard" wait_for 5 logged name=crasher "killed by signal 9"
  check "the emperor is still there" kill -0 "$EMPEROR_PID"
  [ $signal = TERM ] && touch "$H/kept$signal.go" || kill -$signal "$EMPEROR_PID"
  check "it ends with 0 $([ $signal = TERM ] && echo "after the hook" || echo "at once when it is asked again")" wait "$EMPEROR_PID"
  EMPEROR_PID=
  start_emperor
  check "the next one starts what had ended" wait_running crasher "$crasher"
done
check "the first hook ran once, to its end" once keptTERM post_start
touch "$H/keptINT.go"
for name in born later patient keptTERM keptINT; do wait_running "$name"; done

check "SIGQUIT ends all" stop_emperor QUIT
check "nothing is left" wait_for 15 is "" processes
