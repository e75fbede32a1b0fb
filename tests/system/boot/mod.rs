//! The service under a real systemd, in a container: first all that `docs/systemd.md` tells to do, in
//! its own words, then what can go wrong, by `boot/steps.sh`.
//!
//! It takes root, `systemd-nspawn` and overlay mounts. Where these cannot be had it says so and
//! passes; with `JOBTRACK_BOOT=required` it fails.

mod container;

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Stdio};
use std::time::Duration;

use crate::support::fake_server::{End, Life, StandIn};
use container::{Impossible, Machine};

const DOCUMENT: &str = include_str!("../../../docs/systemd.md");
const STEPS: &str = include_str!("steps.sh");
const KEY: &str = "the-key-of-a-credential";

/// The document's shell blocks, each with the heading above it.
fn blocks() -> impl Iterator<Item = (&'static str, &'static str)> {
    DOCUMENT.split("\n## ").flat_map(|section| {
        let heading = section.lines().next().unwrap_or_default();
        let blocks = section.split("```sh\n").skip(1);
        blocks.map(move |rest| (heading, rest.split("```").next().unwrap_or_default()))
    })
}

/// A part of the test below: Dune, in the network of the machine that starts it. It plays until its
/// input ends, which it does when the test does.
#[test]
#[ignore = "not a test of its own"]
fn plays_dune() {
    if std::env::var_os("JOBTRACK_BOOT_DUNE").is_none() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let dune = runtime.block_on(StandIn::start());
    dune.set_key(KEY);
    let ends = || Life::from_first_request().running(Duration::from_secs(1)).then(End::Completed);
    for id in ["01GBM4W2N0NMCGPZYW8AYK4YF1", "01ENDS"] {
        dune.put(id, ends());
    }
    for n in 0..20 {
        let hour = Duration::from_hours(1);
        dune.put(&format!("01LONG{n}"), Life::new().running(hour).then(End::Completed));
    }
    println!("\n{}", dune.base_url().replace("127.0.0.1", "localhost"));
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).expect("an input that ends");
    assert_eq!(dune.keys_seen(), [KEY]);
    assert_eq!(dune.violations(), [""; 0]);
}

/// [`plays_dune`], at work.
struct Dune {
    process: Child,
    input: ChildStdin,
    base_url: String,
}

impl Dune {
    fn start(machine: &Machine) -> Self {
        let mut process = machine
            .inside("--net")
            .arg(std::env::current_exe().expect("this program"))
            .args(["boot::plays_dune", "--exact", "--ignored", "--nocapture"])
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
    fn was_asked_well(self) -> bool {
        let Self { mut process, input, .. } = self;
        drop(input);
        process.wait().expect("it ends").success()
    }
}

fn boot() -> Result<Machine, Impossible> {
    let binary = |name| format!("/src/target/release/{name}");
    let binds = [
        (concat!(env!("CARGO_MANIFEST_DIR"), "/systemd"), "/src/systemd"),
        (env!("CARGO_BIN_EXE_jobtrackd"), &binary("jobtrackd")),
        (env!("CARGO_BIN_EXE_jobtrack"), &binary("jobtrack")),
    ];
    let prelude = STEPS.split("\n## ").next().unwrap_or_default();
    Machine::boot(&binds, prelude)
}

#[test]
fn fault_01_13_51_54_55_a_real_systemd_runs_the_service() {
    let machine = match boot() {
        Ok(machine) => machine,
        Err(Impossible(why)) => {
            let required = std::env::var("JOBTRACK_BOOT").is_ok_and(|value| value == "required");
            assert!(!required, "no systemd can be booted: {why}");
            println!("skipped: {why}");
            return;
        }
    };
    let dune = Dune::start(&machine);
    machine.step("point dune at the stand-in", &stage(&dune.base_url), "");
    for (heading, script) in blocks() {
        machine.step(&format!("document: {heading}"), script, &format!("{KEY}\n"));
    }
    for step in STEPS.split("\n## ").skip(1) {
        let (name, script) = step.split_once('\n').expect("a script follows its name");
        machine.step(name, script, "");
    }
    drop(machine);
    assert!(dune.was_asked_well());
}

/// The users of the document and of the steps, and what the document's config cannot say: where
/// the stand-in is, and shorter waits.
fn stage(base_url: &str) -> String {
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
