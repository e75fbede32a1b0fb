# The steps of the boot test. Each heading is the name of a step and is followed by its script, which
# runs as root in the container with `bash -euxo pipefail`. All steps share one container, so their
# order matters. The lines before the first heading precede each script.

# Waits until a command succeeds.
eventually() {
    local try
    for try in {1..200}; do "$@" && return; sleep 0.1; done
    echo "never: $*" >&2
    return 1
}
# `! COMMAND` would not fail the script if the command succeeds.
fails() { if "$@"; then echo "succeeded: $*" >&2; return 1; fi; }
is() { [ "$1" = "$2" ] || { echo "'$1' is not '$2'" >&2; return 1; }; }
property() { systemctl show --property "$1" --value "${2:-jobtrackd.service}"; }
property_is() { is "$(property "$1")" "$2"; }
sql() { sqlite3 -readonly -cmd '.timeout 5000' /var/lib/jobtrack/jobtrack.db "$1"; }
sql_is() { is "$(sql "$1")" "$2"; }
# Runs a command as a user with the groups of a login.
as() { setpriv --reuid "$1" --regid "$1" --init-groups env -C / "${@:2}"; }
# A daemon with another PID than $1 is ready.
replaced_by_new_daemon() { [ "$(property MainPID)" != "$1" ] && property_is ActiveState active; }
# Each unfinished job was polled after $1.
all_polled_since() { sql_is "SELECT count(*) FROM jobs WHERE NOT terminal AND coalesce(last_polled_at, '') <= '$1'" 0; }
now() { date -u '+%F %T.%3N'; }
# The binaries that the document builds are bind-mounted.
cargo() { :; }
cd /src

## ready: `systemctl start` returns when the daemon is ready
rm /etc/systemd/system/jobtrackd.service.d/local.conf
sed -i 's/^requests_per_minute.*/requests_per_minute = 3000\npolicy = "backoff"\nmax_interval = "2s"/' /etc/jobtrack/config.toml
systemctl daemon-reload
systemctl start jobtrackd
is "$(systemctl is-active jobtrackd.service jobtrackd.socket | xargs)" 'active active'
property_is StatusText 'tracking 0 jobs'
jobtrack status

## confined: no capabilities, no new privileges, filtered system calls
status=/proc/$(property MainPID)/status
is "$(awk '/^(CapEff|CapBnd|NoNewPrivs|Seccomp):/ { print $2 }' "$status" | xargs)" '0000000000000000 0000000000000000 1 2'
is "$(awk '/^(Uid|Groups):/ { print $2 }' "$status" | xargs)" "$(id -u jobtrack) $(id -g jobtrack)"

## memory: no core dump, and other processes of the same user cannot read it
daemon=$(property MainPID)
is "$(awk '/^Max core file size/ { print $5, $6 }' /proc/"$daemon"/limits)" '0 0'
is "$(stat -c %U /proc/"$daemon"/mem)" root
fails as jobtrack cat /proc/"$daemon"/environ

## modes: owner and mode of directories, database and socket
is "$(stat -c '%a %U %G' /var/lib/jobtrack /run/jobtrack | xargs)" '750 jobtrack jobtrack 755 jobtrack jobtrack'
is "$(stat -c '%a %U %G' /var/lib/jobtrack/jobtrack.db{,-wal,-shm} | sort -u)" '640 jobtrack jobtrack'
is "$(stat -c '%a %U %G' /run/jobtrack/control.sock)" '660 jobtrack jobtrack'

## credential: readable only by the daemon
credential=/run/credentials/jobtrackd.service/dune-api-key
cmp "$credential" /etc/credstore/dune-api-key
as jobtrack cat "$credential" > /dev/null
fails as alice cat "$credential"
fails as alice cat /etc/credstore/dune-api-key
fails grep -F "$(cat /etc/credstore/dune-api-key)" /proc/"$(property MainPID)"/environ

## stop: the socket remains, and the next client starts the service
systemctl stop jobtrackd.service
is "$(systemctl is-active jobtrackd.service jobtrackd.socket | xargs)" 'inactive active'
[ -S /run/jobtrack/control.sock ]
jobtrack list
is "$(systemctl is-active jobtrackd.service)" active

## add: a job of an operator is tracked to its end and stored with the operator's uid and name
as alice jobtrack add dune 01ENDS
as alice jobtrack wait dune/01ENDS --timeout 20s
sql_is "SELECT state, added_by_uid, added_by_user FROM jobs WHERE remote_id = '01ENDS'" "succeeded|$(id -u alice)|alice"

## journal: lines have the level and the fields of their events; the only warning is of the container's files
daemon=$(property MainPID)
log() { journalctl --no-pager -u jobtrackd _PID="$daemon" SYSLOG_IDENTIFIER=jobtrackd -o cat "$@"; }
is "$(log -p warning | grep -v 'is on overlay')" ''
ready() { log PRIORITY=5 | grep 'is ready'; }
eventually ready
ended() { log JOB="$(sql "SELECT id FROM jobs WHERE remote_id = '01ENDS'")" | grep 'ended: succeeded'; }
eventually ended

## operator: can read the database but not write it
as alice sqlite3 -readonly /var/lib/jobtrack/jobtrack.db 'SELECT state FROM jobs' | grep succeeded
fails as alice sqlite3 /var/lib/jobtrack/jobtrack.db 'CREATE TABLE other (x)' 2> /tmp/error
grep 'attempt to write a readonly database' /tmp/error
fails as alice touch /var/lib/jobtrack/file
fails as alice cp /dev/null /var/lib/jobtrack/jobtrack.db
sql_is 'SELECT count(*) FROM jobs' 2

## stranger: a user outside the group can access neither the socket nor the database
exit_code=0; as mallory jobtrack list 2> /tmp/error || exit_code=$?
is $exit_code 69
grep 'permission denied for /run/jobtrack/control.sock' /tmp/error
fails as mallory sqlite3 -readonly /var/lib/jobtrack/jobtrack.db 'SELECT 1 FROM jobs'
fails as mallory ls /var/lib/jobtrack

## restart: an add during a restart waits and is acknowledged
# The restart lasts at least one second.
echo -e '[Service]\nExecStartPre=/bin/sleep 1' > /etc/systemd/system/jobtrackd.service.d/gap.conf
systemctl daemon-reload
systemctl --no-block restart jobtrackd
eventually property_is SubState start-pre
jobtrack add dune 01LONG0 | grep added
property_is SubState running
rm /etc/systemd/system/jobtrackd.service.d/gap.conf
systemctl daemon-reload
(for try in {1..4}; do systemctl restart jobtrackd; done) & restarts=$!
for n in {1..19}; do jobtrack add dune "01LONG$n"; done
wait $restarts
sql_is 'SELECT count(*) FROM jobs WHERE NOT terminal' 20

## reload: the config is read again, and an invalid one is rejected
daemon=$(property MainPID)
has_budget() { jobtrack status --json | grep '"requests_per_minute":'"$1"'[,}]'; }
has_budget 3000
sed -i 's/^requests_per_minute.*/requests_per_minute = 2900/' /etc/jobtrack/config.toml
systemctl reload jobtrackd
eventually has_budget 2900
echo 'bogus = 1' >> /etc/jobtrack/config.toml
fails jobtrack reload
systemctl reload jobtrackd
rejection_logged() { journalctl --no-pager -u jobtrackd -p warning -o json | grep 'bogus is not a setting'; }
eventually rejection_logged
sed -i '/bogus/d' /etc/jobtrack/config.toml
has_budget 2900
eventually property_is SubState running
property_is MainPID "$daemon"

## kill -9: the daemon is restarted and polls all jobs within 5 s
daemon=$(property MainPID) restarts=$(property NRestarts)
kill -9 "$daemon"
killed=$(now)
eventually replaced_by_new_daemon "$daemon"
SECONDS=0
eventually all_polled_since "$killed"
[ $SECONDS -le 5 ]
property_is NRestarts $((restarts + 1))

## hang: the watchdog kills the daemon, and it is restarted
echo -e '[Service]\nWatchdogSec=2s' > /etc/systemd/system/jobtrackd.service.d/watchdog.conf
systemctl daemon-reload
systemctl restart jobtrackd
daemon=$(property MainPID)
kill -STOP "$daemon"
eventually replaced_by_new_daemon "$daemon"
hung=$(now)
journalctl --no-pager -u jobtrackd -o cat | grep -F 'Watchdog timeout (limit 2s)!'
eventually all_polled_since "$hung"
rm /etc/systemd/system/jobtrackd.service.d/watchdog.conf
systemctl daemon-reload
systemctl restart jobtrackd

## bad config: the service is not restarted, not even by clients, until the config is fixed
echo 'bogus = 1' >> /etc/jobtrack/config.toml
fails systemctl restart jobtrackd
is "$(property ActiveState) $(property ExecMainStatus) $(property NRestarts)" 'failed 78 0'
exit_code=0; jobtrack list || exit_code=$?
is $exit_code 69
is "$(property Result jobtrackd.socket)" trigger-limit-hit
is "$(property ActiveState) $(property ExecMainStatus) $(property NRestarts)" 'failed 78 0'
sed -i '/bogus/d' /etc/jobtrack/config.toml
systemctl start jobtrackd
is "$(systemctl is-active jobtrackd.service jobtrackd.socket | xargs)" 'active active'

## credential missing: the error names the credential
mv /etc/credstore/dune-api-key /tmp/
fails systemctl restart jobtrackd
is "$(property ExecMainStatus)" 78
journalctl --no-pager -u jobtrackd -o cat -n 20 | grep 'credential dune-api-key: No such file'
mv /tmp/dune-api-key /etc/credstore/
systemctl start jobtrackd

## failed disk: service and socket are restarted until the disk works again
systemctl stop jobtrackd
echo -e '[Service]\nStateDirectory=\nReadOnlyPaths=/var/lib/jobtrack\nRestartSec=500ms' > /etc/systemd/system/jobtrackd.service.d/disk.conf
systemctl daemon-reload
fails jobtrack list
is "$(property Result jobtrackd.socket)" trigger-limit-hit
property_is ExecMainStatus 74
rm /etc/systemd/system/jobtrackd.service.d/disk.conf
systemctl daemon-reload
eventually property_is ActiveState active
is "$(systemctl is-active jobtrackd.socket)" active
jobtrack list

## without the socket unit: the daemon creates the socket with the configured group
systemctl stop jobtrackd.service
systemctl mask --now jobtrackd.socket
install -D -m 644 systemd/drop-ins/own-socket.conf /etc/systemd/system/jobtrackd.service.d/own-socket.conf
systemctl daemon-reload
echo -e '[control]\ngroup = "jobtrack"' >> /etc/jobtrack/config.toml
systemctl start jobtrackd.service
is "$(stat -c '%a %U %G' /run/jobtrack/control.sock)" '660 jobtrack jobtrack'
as alice jobtrack list
systemctl stop jobtrackd.service
[ ! -e /run/jobtrack/control.sock ]
systemctl unmask jobtrackd.socket
rm /etc/systemd/system/jobtrackd.service.d/own-socket.conf
systemctl daemon-reload
systemctl start jobtrackd.service
is "$(systemctl is-active jobtrackd.socket)" active
as alice jobtrack list

## instance: a further daemon has a configuration, a credential, a database and a socket of its own
install -m 644 systemd/jobtrackd@.service /usr/lib/systemd/system/
echo another-key > /etc/credstore/dune-api-key-team
echo -e '[providers.team]\nkind = "dune"\napi_key = { credential = "dune-api-key" }' > /etc/jobtrack/team.toml
systemctl daemon-reload
systemctl start jobtrackd@team
is "$(cat /run/credentials/jobtrackd@team.service/dune-api-key)" another-key
is "$(stat -c '%a %U %G' /var/lib/jobtrack-team /run/jobtrack-team/control.sock | xargs)" '750 jobtrack jobtrack 660 jobtrack jobtrack'
as alice env JOBTRACK_SOCKET=/run/jobtrack-team/control.sock jobtrack add team 01GBM4W2N0NMCGPZYW8AYK4YF1
is "$(sqlite3 -readonly /var/lib/jobtrack-team/jobtrack.db 'SELECT provider FROM jobs')" team
sql_is "SELECT count(*) FROM jobs WHERE provider = 'team'" 0
systemctl stop jobtrackd@team
[ ! -e /run/jobtrack-team/control.sock ]

## nothing lost: every job is stored once, and the service stops successfully
sql_is "SELECT count(*), count(DISTINCT remote_id), sum(terminal) FROM jobs" '22|22|2'
systemctl stop jobtrackd.socket jobtrackd.service
property_is Result success
