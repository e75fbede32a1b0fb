//! `jobtrackd --check` prints the settings in force, fails as a start would, and starts nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::EVENT_TIMEOUT;
use crate::support::daemon::{DaemonHome, run_with_timeout, utf8};

fn run_check(home: &DaemonHome, env: &[(&str, &str)]) -> Output {
    let mut command = home.daemon_command();
    command.arg("--check").envs(env.iter().copied());
    command.output().expect("jobtrackd runs")
}

#[test]
fn it_prints_each_setting_with_its_source_and_no_secret() {
    let home = DaemonHome::new("http://127.0.0.1:1", "max_in_flight = 3");
    let output = run_check(&home, &[("JOBTRACK__POLLING__MAX_INTERVAL", "2m")]);
    let told = utf8(&output.stdout);
    assert_eq!((output.status.code(), utf8(&output.stderr).as_str()), (Some(0), ""), "{told}");
    let file = home.path("config.toml").display().to_string();
    let lines = [
        ("polling.min_interval = \"1s\"", "default"),
        ("polling.max_interval = \"2m\"", "$JOBTRACK__POLLING__MAX_INTERVAL"),
        ("providers.dune.max_in_flight = 3", &file),
        ("providers.dune.base_url = \"http://127.0.0.1:1\"", &file),
        ("providers.dune.requests_per_minute = 30", "default of kind dune"),
    ];
    for (setting, source) in lines {
        let line = told.lines().find(|line| line.starts_with(setting));
        let line = line.unwrap_or_else(|| panic!("{setting} is not told\n{told}"));
        assert!(line.ends_with(&format!("# {source}")), "{line}");
    }
    assert!(told.contains("providers.dune.api_key.file = "), "where the key lies\n{told}");
    assert!(!told.contains("fake-api-key"), "{told}");
    assert!(told.contains("pending migrations: [1"), "{told}");
    assert!(!home.path("state").exists() && !home.path("run").exists(), "nothing was made");
}

#[test]
fn beside_a_running_daemon_it_sees_no_pending_migrations_and_disturbs_nothing() {
    let home = DaemonHome::new("http://127.0.0.1:1", "");
    let daemon = home.start();
    let output = run_check(&home, &[]);
    assert_eq!(output.status.code(), Some(0));
    let told = utf8(&output.stdout);
    assert!(told.contains("no pending migrations, in use by a running jobtrackd"), "{told}");
    home.run_client_ok(&["add", "dune", "A"]);
    assert!(daemon.stop().success());
}

#[test]
fn without_any_config_it_says_what_is_missing() {
    let home = DaemonHome::without_config();
    home.write_config("");
    let output = run_check(&home, &[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(utf8(&output.stdout).contains("DUNE_API_KEY"), "{output:?}");
}

#[test]
fn fault_54_55_it_fails_with_78_and_the_same_message_as_a_start() {
    let key = |reference: &str| {
        format!("[providers.dune]\nkind = \"dune\"\napi_key = {{ {reference} }}\n")
    };
    let home = DaemonHome::without_config();
    for (name, content) in [("empty", " \n"), ("two-lines", "a\nb\n"), ("umlaut", "schl\u{fc}ssel")]
    {
        home.write_secret(name, content);
    }
    let file = |name: &str| key(&format!("file = \"{}\"", home.path(name).display()));
    let good = home.path("good").display().to_string();
    home.write_secret("good", "a-key");
    let lake = |project: &str, sk: &str| {
        format!(
            "[providers.lake]\nkind = \"dli\"\nregion = \"cn-north-4\"\nproject_id = \"{project}\"\n\
             auth = {{ ak = {{ file = \"{good}\" }}, sk = {{ {sk} }} }}\n"
        )
    };
    let cases = [
        (
            "half of a key",
            lake("4f1", "env = \"NO_SK\""),
            "provider lake: environment variable NO_SK",
        ),
        (
            "control characters",
            lake("4f1\\n", &format!("file = \"{good}\"")),
            "providers.lake.project_id must",
        ),
        ("an unknown key", "[store]\npaht = \"/x\"\n".to_owned(), "store.paht"),
        ("a syntax error", "[store\n".to_owned(), ":1: "),
        ("no such credential", key("credential = \"dune\""), "CREDENTIALS_DIRECTORY"),
        ("no such file", file("missing"), "No such file"),
        ("an empty file", file("empty"), "is empty"),
        ("two lines", file("two-lines"), "one line"),
        ("not ASCII", file("umlaut"), "ASCII"),
        ("no such variable", key("env = \"NOT_SET\""), "NOT_SET"),
    ];
    for (name, config, words) in cases {
        home.write_config(&config);
        let checked = run_check(&home, &[]);
        let started = home.run_daemon_to_exit(&[]);
        for output in [&checked, &started] {
            assert_eq!(output.status.code(), Some(78), "{name}: {output:?}");
            assert!(utf8(&output.stderr).contains(words), "{name}: {output:?}");
        }
        assert_eq!(utf8(&checked.stderr), utf8(&started.stderr), "{name}");
        assert!(!home.path("state").exists(), "{name}: nothing was made");
    }
}

#[test]
fn fault_55_a_key_that_all_may_read_is_warned_of() {
    let home = DaemonHome::new("http://127.0.0.1:9", "");
    let private = run_check(&home, &[]);
    assert_eq!(utf8(&private.stderr), "");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(home.path("key"), mode).expect("a mode");
    let open = run_check(&home, &[]);
    assert!(open.status.success());
    let warning = utf8(&open.stderr);
    assert!(warning.contains("WARN") && warning.contains("readable by all users"), "{warning}");
    assert!(!warning.contains("fake-api-key"), "{warning}");
}

#[test]
fn fault_54_a_file_that_is_not_there_or_is_none_ends_with_78() {
    let home = DaemonHome::without_config();
    let missing = run_check(&home, &[]);
    std::fs::create_dir(home.path("config.toml")).expect("a directory");
    for (output, words) in [(missing, "No such file"), (run_check(&home, &[]), "directory")] {
        assert_eq!(output.status.code(), Some(78));
        let why = utf8(&output.stderr);
        assert!(why.contains(words) && why.contains("config.toml"), "{why}");
        assert_eq!(utf8(&output.stdout), "");
    }
}

#[test]
fn fault_55_white_space_at_a_keys_end_is_not_part_of_it() {
    let home = DaemonHome::new("http://127.0.0.1:1", "");
    for content in ["key", "key\n", "key \r\n\n"] {
        std::fs::write(home.path("key"), content).expect("the key's file");
        assert_eq!(run_check(&home, &[]).status.code(), Some(0), "{content:?}");
    }
}

/// All names and contents below a directory, but for what SQLite creates to read a database: the shared
/// memory and an empty log.
fn content(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        found.extend(content(&path));
        let bytes = std::fs::read(&path).unwrap_or_default();
        let name = path.to_string_lossy().into_owned();
        let is_for_reading = name.ends_with("-shm") || name.ends_with("-wal") && bytes.is_empty();
        if !is_for_reading {
            found.insert(path, bytes);
        }
    }
    found
}

/// Runs `jobtrackd` as a user without privileges if the tests run as root, who may write everywhere.
fn unprivileged(home: &DaemonHome, arguments: &[&str]) -> Output {
    let daemon = home.daemon_command();
    let mut command = Command::new("setpriv");
    if rustix::process::getuid().is_root() {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    command.arg(daemon.get_program()).args(daemon.get_args()).args(arguments).env_clear();
    run_with_timeout(&mut command, "", EVENT_TIMEOUT)
}

type Damage = Box<dyn Fn(&DaemonHome)>;

#[test]
fn fault_74_it_finds_what_a_start_would_fail_on_and_changes_nothing() {
    let sql = |home: &DaemonHome, sql: &str| {
        let output = Command::new("sqlite3").arg(home.database()).arg(sql).output();
        assert!(output.expect("sqlite3 is installed").status.success(), "{sql}");
    };
    let statement = |text: &'static str| -> Damage { Box::new(move |home| sql(home, text)) };
    let cases: [(&str, i32, Damage); 7] = [
        ("another checksum", 65, statement("UPDATE _sqlx_migrations SET checksum = x'00'")),
        ("a newer schema", 65, statement("PRAGMA user_version = 4000")),
        ("another program's", 65, statement("PRAGMA application_id = 7")),
        (
            "not a database",
            65,
            Box::new(|home| std::fs::write(home.database(), "text".repeat(4096)).expect("a file")),
        ),
        (
            "a second link",
            65,
            Box::new(|home| {
                std::fs::hard_link(home.database(), home.path("link")).expect("a link");
            }),
        ),
        (
            "a file at the path of the socket",
            74,
            Box::new(|home| {
                std::fs::create_dir_all(home.path("run")).expect("a directory");
                std::fs::write(home.socket(), "precious").expect("a file");
            }),
        ),
        (
            "a directory at the path of the database",
            74,
            Box::new(|home| {
                std::fs::remove_file(home.database()).expect("the database");
                std::fs::create_dir(home.database()).expect("a directory");
            }),
        ),
    ];
    for (name, code, damage) in cases {
        let home = DaemonHome::new("http://127.0.0.1:1", "");
        assert!(home.start().stop().success(), "{name}");
        damage(&home);
        let before = content(&home.path("."));
        let checked = run_check(&home, &[]);
        assert_eq!(checked.status.code(), Some(code), "{name}: {checked:?}");
        assert!(content(&home.path(".")) == before, "{name}: the check changed something");
        let started = home.run_daemon_to_exit(&[]);
        assert_eq!(started.status.code(), Some(code), "{name}: {started:?}");
        assert_eq!(utf8(&checked.stderr), utf8(&started.stderr), "{name}");
    }
}

#[test]
fn fault_74_it_finds_directories_that_cannot_be_written() {
    let home = DaemonHome::without_config();
    let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(home.path("."), mode(0o755)).expect("a mode");
    for name in ["closed", "open"] {
        std::fs::create_dir(home.path(name)).expect("a directory");
    }
    std::fs::set_permissions(home.path("closed"), mode(0o555)).expect("a mode");
    std::fs::set_permissions(home.path("open"), mode(0o777)).expect("a mode");
    std::fs::write(home.path("open/file"), "").expect("a file");
    let path = |name: &str| home.path(name).display().to_string();
    let cases = [
        ("closed/jobtrack.db", "open/s", "Permission denied"),
        ("closed/new/jobtrack.db", "open/s", "permission denied"),
        ("open/file/jobtrack.db", "open/s", "ot a directory"),
        ("open/jobtrack.db", "closed/s", "Permission denied"),
        ("open/jobtrack.db", "closed/new/s", "permission denied"),
    ];
    for (database, socket, words) in cases {
        home.write_config(&format!(
            "[store]\npath = \"{}\"\n[control]\nsocket = \"{}\"\n",
            path(database),
            path(socket)
        ));
        for arguments in [&["--check"][..], &[]] {
            let output = unprivileged(&home, arguments);
            let why = utf8(&output.stderr);
            assert_eq!(output.status.code(), Some(74), "{database} {socket} {arguments:?}: {why}");
            assert!(why.contains(words), "{database} {socket} {arguments:?}: {why}");
        }
    }
}
