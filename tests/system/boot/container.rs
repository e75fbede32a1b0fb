//! A machine of one's own: systemd as PID 1 in a container, on an overlay of this machine's files.
//!
//! What it writes goes to memory, in a mount namespace of its own; its network is its own loopback;
//! its processes are in a process namespace that ends when its first process does, and that one
//! ends with us, however we end.

use std::io::Read;
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

use crate::support::daemon::{run_with_timeout, utf8};
use crate::support::{EVENT_TIMEOUT, timed};

/// A booted machine; gone when dropped.
pub(crate) struct Container {
    /// The parent of `systemd-nspawn`.
    process: Child,
    /// Its PID 1, as we see it.
    init_pid: String,
    /// Where the machine's own mount namespace has its files; empty in ours.
    root_dir: TempDir,
    /// What comes before each script.
    script_prelude: &'static str,
}

/// Why none can be had here.
pub(crate) struct BootUnavailable(pub(crate) String);

/// Seconds; less than [`SOON`], so that a step that hangs still shows what it said.
const STEP_TIMEOUT_S: &str = "25";

/// Mounts, then becomes `systemd-nspawn`. `$1` is an empty directory, the rest are more options.
/// A control group of its own keeps two such machines apart. `basic.target` leaves out the services
/// that this machine may have.
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

/// Takes the control groups of `$0` away, as soon as nobody is left in them.
const CLEANUP_SCRIPT: &str = r#"
for group in /sys/fs/cgroup/{.,systemd,unified}/"$0"; do
    for try in {1..100}; do
        [ -d "$group" ] || break
        find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.1
    done
done
"#;

impl Container {
    /// Boots one that sees these files of ours, `(ours, its)`.
    pub(crate) fn boot(
        binds: &[(&str, &str)],
        prelude: &'static str,
    ) -> Result<Self, BootUnavailable> {
        if !rustix::process::getuid().is_root() {
            return Err(BootUnavailable("it takes root".into()));
        }
        for program in ["systemd-nspawn", "unshare", "nsenter", "setpriv", "pgrep"] {
            let found = Command::new(program).arg("--version").stdout(Stdio::null()).status();
            if !found.is_ok_and(|status| status.success()) {
                return Err(BootUnavailable(format!("{program} is not installed")));
            }
        }
        let files = TempDir::with_prefix("jobtrack-boot-").expect("a temporary directory");
        let first = Command::new("setpriv")
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
            .arg(files.path())
            .args(binds.iter().map(|(ours, its)| format!("--bind-ro={ours}:{its}")))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("setpriv is installed");
        let mut machine = Self {
            process: first,
            init_pid: String::new(),
            root_dir: files,
            script_prelude: prelude,
        };
        let (booted, took) = timed(|| machine.wait_for_boot());
        booted?;
        println!("boot: {} ms", took.as_millis());
        Ok(machine)
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

    /// A command that runs inside, once the program and its arguments are given.
    pub(crate) fn nsenter_command(&self, namespaces: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init_pid, namespaces]);
        command
    }

    /// Runs a named step, which must succeed: a script for bash as root, with this on its input.
    /// If it fails, all that it said is shown, and the journal.
    pub(crate) fn run_step(&self, name: &str, script: &str, input: &str) {
        let (output, took) = timed(|| self.run_script(script, input));
        if !output.status.success() {
            let journal = self.run_script("journalctl --no-pager -n 80 -o short-precise", "");
            let said = [&output.stdout, &output.stderr, &journal.stdout].map(|it| utf8(it));
            panic!("step '{name}' failed: {}\n{}", output.status, said.join("\n---\n"));
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
