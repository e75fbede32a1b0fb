//! The daemon as `Containerfile` starts it: with its environment and no other, without `HOME`, as a user
//! without an account, with a root directory that cannot be written and one volume.
//!
//! No container engine is needed: the root is this machine's, mounted read-only in a mount namespace of its
//! own, with the programs of this test run instead of those that the file builds. Needs root.

use std::process::Command;
use std::time::Duration;

use crate::support::daemon::{run_with_timeout, utf8};
use crate::support::fake_server::{FakeServer, JobEnd, JobScript};
use crate::support::{EVENT_TIMEOUT, report_unavailable};

const CONTAINERFILE: &str = include_str!("../../Containerfile");

/// Mounts the root read-only and an empty volume, then becomes an unprivileged user: `$1` is an empty
/// directory, the rest a command.
const ENTER_SCRIPT: &str = r#"
set -e
root=$1; shift
mount --make-rprivate /
mount --rbind / "$root"
mount -t tmpfs -o mode=1777 volume "$root/mnt"
mount -o remount,bind,ro "$root"
exec chroot --userspec=3999998:0 "$root" env -i "$@"
"#;

/// What a user of the container does with `podman run` and `podman exec`.
const SESSION_SCRIPT: &str = "
touch /x 2>/dev/null && exit 98
jobtrackd & daemon=$!
until jobtrack status >/dev/null 2>&1; do kill -0 $daemon || exit 97; done
jobtrack add dune 01IMAGE && jobtrack wait 1 --timeout 20s && ls /mnt
kill $daemon; wait $daemon
";

/// The variables of the instructions `ENV`, with the volume at another place.
fn environment() -> Vec<String> {
    let (_, instruction) = CONTAINERFILE.split_once("\nENV ").expect("an instruction ENV");
    let lines = instruction.lines().scan(true, |continues, line| {
        let is_next = *continues;
        *continues = line.ends_with('\\');
        is_next.then(|| line.trim_end_matches('\\').trim().replace("/data/", "/mnt/"))
    });
    lines.filter(|variable| !variable.starts_with("PATH=")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_with_any_user_and_a_read_only_root_tracks_a_job() {
    let possible = Command::new("unshare").args(["-m", "mount", "--make-rprivate", "/"]).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        return report_unavailable("no mount namespace");
    }
    let dune = FakeServer::start().await;
    let script = JobScript::starting_at_first_request().running(Duration::from_millis(100));
    dune.add_job("01IMAGE", script.ending_with(JobEnd::Completed));
    let variables = environment();
    assert_eq!(variables.len(), 3, "{variables:?}");
    let programs =
        std::path::Path::new(env!("CARGO_BIN_EXE_jobtrack")).parent().expect("a directory");
    let root = tempfile::TempDir::with_prefix("jobtrack-image-").expect("a directory");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", ENTER_SCRIPT, "enter"]).arg(root.path());
    command.args(variables).args([
        format!("PATH={}:/usr/bin:/bin", programs.display()),
        "JOBTRACK__PROVIDERS__DUNE__KIND=dune".into(),
        format!("JOBTRACK__PROVIDERS__DUNE__BASE_URL={}", dune.base_url()),
        "JOBTRACK__PROVIDERS__DUNE__API_KEY__ENV=DUNE_API_KEY".into(),
        "DUNE_API_KEY=fake-api-key".into(),
    ]);
    let output = run_with_timeout(command.args(["sh", "-c", SESSION_SCRIPT]), "", EVENT_TIMEOUT);
    let printed = [&output.stdout, &output.stderr].map(|bytes| utf8(bytes)).concat();
    assert_eq!(output.status.code(), Some(0), "{printed}");
    assert!(
        printed.contains("1 dune/01IMAGE succeeded") && printed.contains("jobtrack.db"),
        "{printed}"
    );
}
