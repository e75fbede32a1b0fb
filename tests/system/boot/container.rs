//! A container with systemd as PID 1, on an overlay of this machine's files.
//!
//! Writes go to a tmpfs in a private mount namespace, and the network is a private loopback. All
//! processes are in a PID namespace that ends with its first process, and that one ends with the
//! test process, however the test ends.

use std::io::Read;
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

use crate::support::daemon::{run_with_timeout, utf8};
use crate::support::{EVENT_TIMEOUT, timed};

/// A booted container; removed when dropped.
pub(crate) struct Container {
    /// The parent of `systemd-nspawn`.
    process: Child,
    /// Its PID 1, as seen from the host.
    init_pid: String,
    /// The mount point of the files in the container's mount namespace; an empty directory on the
    /// host.
    root_dir: TempDir,
    /// Shell functions that precede each step's script.
    script_prelude: &'static str,
}

/// The reason why no container can be booted here.
pub(crate) struct BootUnavailable(pub(crate) String);

/// In seconds; less than [`EVENT_TIMEOUT`], so that the output of a hanging step is still shown.
const STEP_TIMEOUT_S: &str = "25";

/// Mounts the overlay, then becomes `systemd-nspawn`. `$1` is an empty directory; the other
/// arguments are further options of `systemd-nspawn`. A separate control group isolates concurrent
/// containers. `basic.target` excludes the services that the host may have.
const BOOT_SCRIPT: &str = r#"
set -eu
files=$1; shift
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
    [ -e $hierarchy/cgroup.procs ] || continue
    mkdir "$hierarchy/${files##*/}"
    echo 0 > "$hierarchy/${files##*/}/cgroup.procs"
done
mount -t tmpfs tmpfs "$files"
cd "$files"
mkdir upper work root
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
rm -rf root/etc/jobtrack root/var/lib/jobtrack root/etc/systemd/system/jobtrackd.*
: > root/etc/machine-id
exec systemd-nspawn --quiet --boot --directory="$files/root" --register=no --keep-unit \
    --private-network --machine=jobtrack-test --console=pipe "$@" -- --unit=basic.target
"#;

/// Removes the control groups of `$0` as soon as they are empty.
const CLEANUP_SCRIPT: &str = r#"
for group in /sys/fs/cgroup/{.,systemd,unified}/"$0"; do
    for try in {1..100}; do
        [ -d "$group" ] || break
        find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.1
    done
done
"#;

impl Container {
    /// Boots a container with read-only bind mounts, given as (host path, container path).
    pub(crate) fn boot(
        binds: &[(&str, &str)],
        prelude: &'static str,
    ) -> Result<Self, BootUnavailable> {
        if !rustix::process::getuid().is_root() {
            return Err(BootUnavailable("root is required".into()));
        }
        for program in ["systemd-nspawn", "unshare", "nsenter", "setpriv", "pgrep"] {
            let found = Command::new(program).arg("--version").stdout(Stdio::null()).status();
            if !found.is_ok_and(|status| status.success()) {
                return Err(BootUnavailable(format!("{program} is not installed")));
            }
        }
        let root_dir = TempDir::with_prefix("jobtrack-boot-").expect("a temporary directory");
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private"])
            .args([
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "sh",
                "-c",
                BOOT_SCRIPT,
                "boot",
            ])
            .arg(root_dir.path())
            .args(binds.iter().map(|(host, inside)| format!("--bind-ro={host}:{inside}")))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("setpriv is installed");
        let mut container =
            Self { process, init_pid: String::new(), root_dir, script_prelude: prelude };
        let (booted, took) = timed(|| container.wait_for_boot());
        booted?;
        println!("boot: {} ms", took.as_millis());
        Ok(container)
    }

    fn wait_for_boot(&mut self) -> Result<(), BootUnavailable> {
        let wait_script = "for try in {1..300}; do
                nspawn=$(pgrep --parent $0) && leader=$(pgrep --parent $nspawn) &&
                    state=$(nsenter --target $leader --all systemctl is-system-running 2>/dev/null) || :
                case ${state:-} in running | degraded) echo $leader; exit;; esac
                [ -e /proc/$0/exe ] || exit
                sleep 0.1
            done";
        let pid = self.process.id().to_string();
        let found = run_with_timeout(
            Command::new("bash").args(["-c", wait_script, &pid]),
            "",
            EVENT_TIMEOUT * 2,
        );
        utf8(&found.stdout).trim().clone_into(&mut self.init_pid);
        if !self.init_pid.is_empty() {
            return Ok(());
        }
        let _ = self.process.kill();
        let mut error_text = String::new();
        let stderr = self.process.stderr.as_mut().expect("a pipe");
        stderr.read_to_string(&mut error_text).expect("UTF-8");
        Err(BootUnavailable(format!("systemd does not boot in a container: {}", error_text.trim())))
    }

    /// An `nsenter` command to which the caller adds a program and its arguments.
    pub(crate) fn nsenter_command(&self, namespaces: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init_pid, namespaces]);
        command
    }

    /// Runs a bash script as root in the container, with this standard input. If it fails, panics
    /// with its output and the end of the journal.
    pub(crate) fn run_step(&self, name: &str, script: &str, input: &str) {
        let (output, took) = timed(|| self.run_script(script, input));
        if !output.status.success() {
            let journal = self.run_script("journalctl --no-pager -n 80 -o short-precise", "");
            let printed =
                [&output.stdout, &output.stderr, &journal.stdout].map(|bytes| utf8(bytes));
            panic!("step '{name}' failed: {}\n{}", output.status, printed.join("\n---\n"));
        }
        println!("{name}: {} ms", took.as_millis());
    }

    fn run_script(&self, script: &str, input: &str) -> Output {
        let script = format!("{}set -x\n{script}", self.script_prelude);
        let mut command = self.nsenter_command("--all");
        command
            .args(["timeout", STEP_TIMEOUT_S, "bash", "-euo", "pipefail", "-c", &script])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        run_with_timeout(&mut command, input, EVENT_TIMEOUT)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let name = self.root_dir.path().file_name().unwrap_or_default();
        let _ = Command::new("bash").args(["-c", CLEANUP_SCRIPT]).arg(name).status();
    }
}
