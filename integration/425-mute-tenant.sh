# A tenant's sockets in a file system that does not answer: he waits for it, and nobody else.
#
#   unlink(mute/n)    ── FUSE ── a server that reads no request     hangs until the server is gone
#   unlink(own.sock)                                                goes on

. "$(dirname "$0")/lib.sh"

MANY=100
HOME_OF=$W/homes
mkdir "$HOME_OF"
for who in daemon games; do install -d -o $who -g $who "$HOME_OF/$who"; done
MUTED=$HOME_OF/daemon/mute
install -d -o daemon -g daemon "$MUTED"
cat >>"$SETTINGS" <<Y
run_as_owner: true
vassals: [$HOME_OF/daemon, $HOME_OF/games]
Y
: >"$LOG"
start() {
  mark
  "$EMPEROR" run --config "$SETTINGS" </dev/null >/dev/null 2>>"$LOG" &
  EMPEROR_PID=$!
  wait_for 15 logged "emperor ready"
}
as() { local who=$1; shift; setpriv --reuid "$who" --regid "$(id -g "$who")" --clear-groups -- "$@"; }
put() { as "$1" sh -c 'umask 022; cat >"$0.tmp" && mv "$0.tmp" "$0.yaml"' "$HOME_OF/$1/$2"; }
sleeps_at() { echo "{command: [/bin/sleep, infinity], on_demand: {socket: $1}}"; }
errands() { grep -lx errand /proc/"$EMPEROR_PID"/task/*/comm 2>/dev/null | wc -l; }
records() { find "$RUN/state" -name "$1*.json" | wc -l; }
entries() { find "$RUN" -path "*/sockets/*" -type f 2>/dev/null | wc -l; }
cat >"$PUB/many.py" <<'P'
import os, sys
home, many = sys.argv[1], int(sys.argv[2])
for n in range(many):
    path = f"{home}/many{n}.yaml"
    with open(path + ".tmp", "w") as file:
        file.write(f"{{command: [/bin/sleep, infinity], on_demand: {{socket: {home}/mute/{n}}}}}")
    os.chmod(path + ".tmp", 0o644)
    os.rename(path + ".tmp", path)
P
start

as daemon "$PYTHON" "$PUB/many.py" "$HOME_OF/daemon" $MANY
put daemon own < <(sleeps_at "$HOME_OF/daemon/own.sock")
put games other < <(sleeps_at "$HOME_OF/games/other.sock")
check "a hundred sockets of a tenant" wait_for 10 is $MANY sh -c "ls $MUTED | wc -l"
check "and two more" wait_for 5 sh -c "ss -Hlx | grep -F '$HOME_OF/daemon/own.sock ' && ss -Hlx | grep -F '$HOME_OF/games/other.sock '"
check "nobody works on them any more" wait_for 5 is 0 errands
check "all are on record" is $((MANY + 2)) entries

# ---- his file system becomes mute
mute "$MUTED" "$(id -u daemon)" "$(id -g daemon)"
rm "$HOME_OF/daemon/many0.yaml"
check "a vassal whose socket cannot be taken away is gone all the same" wait_for 10 is $((MANY - 1)) records many
check "one thread has to wait" wait_for 5 is 1 errands
mv "$HOME_OF/daemon/own.yaml" "$W/own.yaml"
check "another socket of his is taken away" wait_for 10 fails test -e "$HOME_OF/daemon/own.sock"
put daemon own < <(sleeps_at "$HOME_OF/daemon/new.sock")
check "and a new one is made" wait_for 5 listens "$HOME_OF/daemon/new.sock"
check "one thread still has to wait" is 1 errands
rm "$HOME_OF"/daemon/many*.yaml
check "the others are gone as well" wait_for 10 is 0 records many
check "and hold as many threads as one tenant may have" wait_for 5 is 64 errands
put games other < <(sleeps_at "$HOME_OF/games/another.sock")
check "another tenant's socket is made all the same" wait_for 5 listens "$HOME_OF/games/another.sock"
check "and taken away" wait_for 5 fails test -e "$HOME_OF/games/other.sock"
mark
check "the emperor ends with 0" stop_emperor
check "and says what it had to leave" logged "at=$MUTED/0" "does not answer"
check "which is on record" is $((MANY + 1)) entries

# ---- and answers again
unmute "$MUTED"
check "the sockets were left" is $MANY sh -c "ls $MUTED | wc -l"
start
check "the next emperor takes them away" wait_for 10 is "" ls "$MUTED"
check "and waits where files say so" wait_for 5 listens "$HOME_OF/daemon/new.sock"
check "it ends with 0" stop_emperor
check "nothing is on record" is 0 entries
check "nothing is left" wait_for 5 is "" processes
