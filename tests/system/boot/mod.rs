//! Runs the service under a real systemd in a container: first the commands of `docs/systemd.md`,
//! verbatim, then the steps of `boot/steps.sh`, most of which show failures.
//!
//! Needs root, `systemd-nspawn` and overlay mounts. Where these are missing, the test prints a
//! message and passes; with `JOBTRACK_BOOT=required` it fails.

mod container;

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Stdio};
use std::time::Duration;

use crate::support::fake_server::{FakeServer, JobEnd, JobScript};
pub(crate) use container::{BootUnavailable, Container};

const SYSTEMD_DOCUMENT: &str = include_str!("../../../docs/systemd.md");
const SCRIPT_STEPS: &str = include_str!("steps.sh");
pub(crate) const CREDENTIAL_KEY: &str = "the-key-of-a-credential";

/// The shell blocks of `docs/systemd.md`, each with its section heading.
fn document_shell_blocks() -> impl Iterator<Item = (&'static str, &'static str)> {
    SYSTEMD_DOCUMENT.split("\n## ").flat_map(|section| {
        let heading = section.lines().next().unwrap_or_default();
        let blocks = section.split("```sh\n").skip(1);
        blocks.map(move |rest| (heading, rest.split("```").next().unwrap_or_default()))
    })
}

/// Not a test: the fake Dune server that the test below starts in the container's network
/// namespace. It runs until its standard input ends, which is when that test ends.
#[test]
#[ignore = "started by the boot test inside its container"]
fn run_fake_dune() {
    if std::env::var_os("JOBTRACK_BOOT_DUNE").is_none() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let dune = runtime.block_on(FakeServer::start());
    dune.set_credentials(CREDENTIAL_KEY);
    let finishing_script = || {
        JobScript::starting_at_first_request()
            .running(Duration::from_secs(1))
            .ending_with(JobEnd::Completed)
    };
    for id in ["01GBM4W2N0NMCGPZYW8AYK4YF1", "01ENDS"] {
        dune.add_job(id, finishing_script());
    }
    for n in 0..20 {
        let hour = Duration::from_hours(1);
        dune.add_job(
            &format!("01LONG{n}"),
            JobScript::new().running(hour).ending_with(JobEnd::Completed),
        );
    }
    println!("\n{}", dune.base_url().replace("127.0.0.1", "localhost"));
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).expect("standard input can be read");
    assert_eq!(dune.credentials_seen(), [CREDENTIAL_KEY]);
    assert_eq!(dune.client_violations(), [""; 0]);
}

/// The process that runs [`run_fake_dune`].
pub(crate) struct FakeDuneProcess {
    process: Child,
    input: ChildStdin,
    pub(crate) base_url: String,
}

impl FakeDuneProcess {
    pub(crate) fn start(container: &Container) -> Self {
        let mut process = container
            .nsenter_command("--net")
            .arg(std::env::current_exe().expect("this program"))
            .args(["boot::run_fake_dune", "--exact", "--ignored", "--nocapture"])
            .env("JOBTRACK_BOOT_DUNE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("nsenter is installed");
        let input = process.stdin.take().expect("a pipe");
        let output = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut lines = output.lines().map_while(Result::ok);
        let base_url =
            lines.find(|line| line.starts_with("http://")).expect("the process prints its address");
        std::thread::spawn(move || lines.for_each(|line| println!("dune: {line}")));
        Self { process, input, base_url }
    }

    /// Stops the process. Returns whether all requests were correct and had the key of the
    /// credential.
    pub(crate) fn finish_without_violations(self) -> bool {
        let Self { mut process, input, .. } = self;
        drop(input);
        process.wait().expect("the process can be waited for").success()
    }
}

fn boot_container() -> Result<Container, BootUnavailable> {
    let binary = |name| format!("/src/target/release/{name}");
    let binds = [
        (concat!(env!("CARGO_MANIFEST_DIR"), "/systemd"), "/src/systemd"),
        (env!("CARGO_BIN_EXE_jobtrackd"), &binary("jobtrackd")),
        (env!("CARGO_BIN_EXE_jobtrack"), &binary("jobtrack")),
    ];
    let prelude = SCRIPT_STEPS.split("\n## ").next().unwrap_or_default();
    Container::boot(&binds, prelude)
}

/// Prints why no container can be booted here; the test then passes. With `JOBTRACK_BOOT=required` it fails.
pub(crate) fn report_unavailable(BootUnavailable(reason): &BootUnavailable) {
    let required = std::env::var("JOBTRACK_BOOT").is_ok_and(|value| value == "required");
    assert!(!required, "no systemd can be booted: {reason}");
    println!("skipped: {reason}");
}

#[test]
fn fault_01_13_51_54_55_a_real_systemd_runs_the_service() {
    let container = match boot_container() {
        Ok(container) => container,
        Err(unavailable) => return report_unavailable(&unavailable),
    };
    let dune = FakeDuneProcess::start(&container);
    container.run_step("point dune at the fake server", &setup_script(&dune.base_url), "");
    for (heading, script) in document_shell_blocks() {
        container.run_step(&format!("document: {heading}"), script, &format!("{CREDENTIAL_KEY}\n"));
    }
    for step in SCRIPT_STEPS.split("\n## ").skip(1) {
        let (name, script) = step.split_once('\n').expect("a script follows its name");
        container.run_step(name, script, "");
    }
    drop(container);
    assert!(dune.finish_without_violations());
}

/// Creates the users of the document and of the steps, and a drop-in with what the document's
/// config does not set: the address of the fake server, and a shorter polling interval.
pub(crate) fn setup_script(base_url: &str) -> String {
    format!(
        "useradd alice
        useradd mallory
        mkdir -p /etc/systemd/system/jobtrackd.service.d
        cat > /etc/systemd/system/jobtrackd.service.d/fake-server.conf <<END
[Service]
Environment=JOBTRACK__PROVIDERS__DUNE__BASE_URL={base_url}
Environment=JOBTRACK__POLLING__MAX_INTERVAL=1s
END
"
    )
}
