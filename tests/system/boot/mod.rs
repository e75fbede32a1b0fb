//! The service under a real systemd, in a container: first all that `docs/systemd.md` tells to do, in
//! its own words, then what can go wrong, by `boot/steps.sh`.
//!
//! It takes root, `systemd-nspawn` and overlay mounts. Where these cannot be had it says so and
//! passes; with `JOBTRACK_BOOT=required` it fails.

mod container;

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Stdio};
use std::time::Duration;

use crate::support::fake_server::{FakeServer, JobEnd, JobScript};
use container::{BootUnavailable, Container};

const SYSTEMD_DOCUMENT: &str = include_str!("../../../docs/systemd.md");
const SCRIPT_STEPS: &str = include_str!("steps.sh");
const CREDENTIAL_KEY: &str = "the-key-of-a-credential";

/// The document's shell blocks, each with the heading above it.
fn document_shell_blocks() -> impl Iterator<Item = (&'static str, &'static str)> {
    SYSTEMD_DOCUMENT.split("\n## ").flat_map(|section| {
        let heading = section.lines().next().unwrap_or_default();
        let blocks = section.split("```sh\n").skip(1);
        blocks.map(move |rest| (heading, rest.split("```").next().unwrap_or_default()))
    })
}

/// A part of the test below: Dune, in the network of the machine that starts it. It plays until its
/// input ends, which it does when the test does.
#[test]
#[ignore = "not a test of its own"]
fn run_fake_dune() {
    if std::env::var_os("JOBTRACK_BOOT_DUNE").is_none() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let dune = runtime.block_on(FakeServer::start());
    dune.set_credentials(CREDENTIAL_KEY);
    let ends = || {
        JobScript::starting_at_first_request()
            .running(Duration::from_secs(1))
            .ending_with(JobEnd::Completed)
    };
    for id in ["01GBM4W2N0NMCGPZYW8AYK4YF1", "01ENDS"] {
        dune.add_job(id, ends());
    }
    for n in 0..20 {
        let hour = Duration::from_hours(1);
        dune.add_job(
            &format!("01LONG{n}"),
            JobScript::new().running(hour).ending_with(JobEnd::Completed),
        );
    }
    println!("\n{}", dune.base_url().replace("127.0.0.1", "localhost"));
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).expect("an input that ends");
    assert_eq!(dune.credentials_seen(), [CREDENTIAL_KEY]);
    assert_eq!(dune.client_violations(), [""; 0]);
}

/// [`run_fake_dune`], at work.
struct FakeDuneProcess {
    process: Child,
    input: ChildStdin,
    base_url: String,
}

impl FakeDuneProcess {
    fn start(machine: &Container) -> Self {
        let mut process = machine
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
        let base_url = lines.find(|line| line.starts_with("http://")).expect("its address");
        std::thread::spawn(move || lines.for_each(|line| println!("dune: {line}")));
        Self { process, input, base_url }
    }

    /// Only ever asked as it should be, and with the key of the credential?
    fn finish_without_violations(self) -> bool {
        let Self { mut process, input, .. } = self;
        drop(input);
        process.wait().expect("it ends").success()
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

#[test]
fn fault_01_13_51_54_55_a_real_systemd_runs_the_service() {
    let machine = match boot_container() {
        Ok(machine) => machine,
        Err(BootUnavailable(why)) => {
            let required = std::env::var("JOBTRACK_BOOT").is_ok_and(|value| value == "required");
            assert!(!required, "no systemd can be booted: {why}");
            println!("skipped: {why}");
            return;
        }
    };
    let dune = FakeDuneProcess::start(&machine);
    machine.run_step("point dune at the stand-in", &setup_script(&dune.base_url), "");
    for (heading, script) in document_shell_blocks() {
        machine.run_step(&format!("document: {heading}"), script, &format!("{CREDENTIAL_KEY}\n"));
    }
    for step in SCRIPT_STEPS.split("\n## ").skip(1) {
        let (name, script) = step.split_once('\n').expect("a script follows its name");
        machine.run_step(name, script, "");
    }
    drop(machine);
    assert!(dune.finish_without_violations());
}

/// The users of the document and of the steps, and what the document's config cannot say: where
/// the stand-in is, and shorter waits.
fn setup_script(base_url: &str) -> String {
    format!(
        "useradd alice
        useradd mallory
        mkdir -p /etc/systemd/system/jobtrackd.service.d
        cat > /etc/systemd/system/jobtrackd.service.d/standin.conf <<END
[Service]
Environment=JOBTRACK__PROVIDERS__DUNE__BASE_URL={base_url}
Environment=JOBTRACK__POLLING__MAX_INTERVAL=1s
END
"
    )
}
