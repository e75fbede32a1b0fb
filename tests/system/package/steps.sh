# The steps of the package test. Those that are named `document: …` first run the commands of a section of
# docs/install.md. Each heading is the name of a step and is
# followed by its script, which runs as root in the container with `bash -euxo pipefail`. All steps share one
# container, so their order matters. The lines before the first heading precede each script.

eventually() {
    local try
    for try in {1..200}; do "$@" && return; sleep 0.1; done
    echo "never: $*" >&2
    return 1
}
fails() { if "$@"; then echo "succeeded: $*" >&2; return 1; fi; }
is() { [ "$1" = "$2" ] || { echo "'$1' is not '$2'" >&2; return 1; }; }
property() { systemctl show --property "$1" --value "${2:-jobtrackd.service}"; }
units() { systemctl "$1" jobtrackd.service jobtrackd.socket | xargs; }
export DEBIAN_FRONTEND=noninteractive
# Images of containers forbid packages to start services. The index of manual pages takes seconds.
rm -f /usr/sbin/policy-rc.d /var/lib/man-db/auto-update
mkdir -p /src/target/debian
ln -sf /packages/jobtrack_0.1.0-1_amd64.deb /src/target/debian/
ln -sf /packages/jobtrack_0.1.0-1_amd64.deb /src/jobtrack_OLD.deb
cd /src

## document: Debian and Ubuntu
jobtrack list --all
jobtrack backup /root/jobtrack-before.db

## installed: user, modes, units, manual pages and completions
is "$(units is-active)" 'active active'
is "$(units is-enabled)" 'enabled enabled'
is "$(stat -c '%a %U %G' /var/lib/jobtrack /run/jobtrack | xargs)" '750 jobtrack jobtrack 755 jobtrack jobtrack'
is "$(stat -c '%a %U' /etc/jobtrack/config.toml)" '644 root'
for page in '1 jobtrack' '1 jobtrack-add' '8 jobtrackd' '5 jobtrack.toml'; do
    [ -f "/usr/share/man/man${page% *}/${page#* }.${page% *}.gz" ]
done
completions_of() {
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9
    _clap_complete_jobtrack jobtrack "${COMP_WORDS[COMP_CWORD]}"
    echo "${COMPREPLY[@]}"
}
source /usr/share/bash-completion/completions/jobtrack
is "$(completions_of jobtrack check d)" dune
is "$(completions_of jobtrack show dune/)" dune/01GBM4W2N0NMCGPZYW8AYK4YF1

## instance: a second daemon with a configuration, a database and a socket of its own
cp /etc/jobtrack/config.toml /etc/jobtrack/team.toml
cp /etc/credstore/dune-api-key /etc/credstore/dune-api-key-team
systemctl enable --now jobtrackd@team
JOBTRACK_SOCKET=/run/jobtrack-team/control.sock jobtrack status

## upgrade: no client is refused, the configuration and the jobs stay, the new daemon runs
jobtrack add dune 01LONG0
daemon=$(property MainPID) instance=$(property MainPID jobtrackd@team)
config=$(cksum /etc/jobtrack/config.toml)
(set +x; while [ ! -e /tmp/upgraded ]; do error=$(jobtrack list 2>&1 >/dev/null) || echo "exit $?: $error"; done) >/tmp/refused & clients=$!
dpkg --install /packages/jobtrack_0.1.1-1_amd64.deb
touch /tmp/upgraded
wait $clients
is "$(cat /tmp/refused)" ''
[ "$(property MainPID)" != "$daemon" ]
[ "$(property MainPID jobtrackd@team)" != "$instance" ]
is "$(systemctl is-active jobtrackd@team)" active
is "$(units is-active)" 'active active'
is "$(cksum /etc/jobtrack/config.toml)" "$config"
is "$(dpkg-query -f '${Version} ${Status}' -W jobtrack)" '0.1.1-1 install ok installed'
is "$(jobtrack list --json | jq -r .remote_id)" 01LONG0

## document: Downgrade
is "$(dpkg-query -f '${Version}' -W jobtrack)" 0.1.0-1
is "$(units is-active)" 'active active'
is "$(jobtrack list --all --json | jq -r .remote_id)" 01GBM4W2N0NMCGPZYW8AYK4YF1
dpkg --install /packages/jobtrack_0.1.1-1_amd64.deb
jobtrack add dune 01LONG0

## disabled: an upgrade does not enable and not start what the administrator disabled
systemctl disable --now jobtrackd.socket jobtrackd.service
dpkg --install /packages/jobtrack_0.1.1-1_amd64.deb
is "$(units is-enabled || true)" 'disabled disabled'
is "$(units is-active || true)" 'inactive inactive'
systemctl enable --now jobtrackd.socket jobtrackd.service
is "$(jobtrack list --json | jq -r .remote_id)" 01LONG0

## remove: nothing runs, and the history and the configuration stay
dpkg --remove jobtrack
fails pgrep -x jobtrackd
fails command -v jobtrack
[ ! -e /usr/lib/systemd/system/jobtrackd.service ]
[ -f /etc/jobtrack/config.toml ]
[ -f /var/lib/jobtrack/jobtrack.db ]

## again: a new installation continues with the history
dpkg --install /packages/jobtrack_0.1.1-1_amd64.deb
is "$(units is-active)" 'active active'
is "$(jobtrack list --json | jq -r .remote_id)" 01LONG0

## purge: history and configuration are gone; the user, the credential and the database of an instance stay
dpkg --purge jobtrack
fails pgrep -x jobtrackd
fails dpkg-query -W jobtrack
[ -f /var/lib/jobtrack-team/jobtrack.db ]
rm -r /etc/systemd/system/jobtrackd.service.d /etc/jobtrack/team.toml /var/lib/jobtrack-team
rmdir /etc/jobtrack
find /etc /run /usr/bin /usr/lib/systemd /usr/lib/sysusers.d /usr/lib/tmpfiles.d /usr/share /var/lib \
    -path /run/systemd -prune -o -name '*jobtrack*' -print > /tmp/left
is "$(cat /tmp/left)" ''
id jobtrack
[ -f /etc/credstore/dune-api-key ]
