//! The precedence of the sources: defaults, one file, the environment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jobtrack::config::{PolicyName, SocketMode};
use jobtrack::job::PollPrice;

use super::{ConfigCase, setting_with_source};

const DUNE_TOML: &str = "[providers.dune]\nkind = \"dune\"\napi_key = { file = \"/key\" }\n";

#[test]
fn with_nothing_set_the_defaults_are_in_force() {
    let loaded = ConfigCase::new().load_ok();
    let config = &loaded.config;
    assert_eq!(loaded.file, None);
    assert_eq!(config.store.path, Path::new("/var/lib/jobtrack/jobtrack.db"));
    assert_eq!(config.control.socket, Path::new("/run/jobtrack/control.sock"));
    assert_eq!((config.control.mode, &config.control.group), (SocketMode(0o660), &None));
    let polling = &config.polling;
    let spans = [polling.min_interval, polling.max_interval, polling.request_timeout];
    assert_eq!(spans, [1, 300, 30].map(Duration::from_secs));
    assert_eq!(polling.give_up_after, Duration::from_hours(30 * 24));
    assert_eq!((polling.policy, polling.price), (PolicyName::Learned, PollPrice::Auto));
    assert!(config.providers.is_empty());
    assert!(loaded.settings.iter().all(|setting| setting.source == "default"));
}

#[test]
fn a_provider_has_the_defaults_of_its_kind() {
    let loaded = ConfigCase::with_file(DUNE_TOML).load_ok();
    let dune = loaded.config.providers.values().next().expect("one provider");
    assert_eq!((dune.requests_per_minute, dune.max_in_flight), (30, 8));
    assert_eq!(dune.polling, loaded.config.polling);
    let defaults = [("requests_per_minute", "30"), ("base_url", "\"https://api.dune.com\"")];
    for (key, expected) in defaults {
        let (value, source) = setting_with_source(&loaded, &format!("providers.dune.{key}"));
        assert_eq!((value.as_str(), source.as_str()), (expected, "default of kind dune"));
    }
}

#[test]
fn provider_rules_precede_common_rules() {
    let text = format!("{DUNE_TOML}min_interval = \"7s\"\n[polling]\nmin_interval = \"3s\"\n");
    let config = ConfigCase::with_file(&text).load_ok().config;
    let dune = config.providers.values().next().expect("one provider");
    let own = &dune.polling;
    assert_eq!(
        (own.min_interval, own.max_interval),
        (Duration::from_secs(7), Duration::from_mins(5))
    );
    assert_eq!(config.polling.min_interval, Duration::from_secs(3));
}

#[test]
fn a_provider_may_override_policy_and_price() {
    let text = format!("{DUNE_TOML}policy = \"backoff\"\n[polling]\nprice = \"10ms\"\n");
    let config = ConfigCase::with_file(&text).load_ok().config;
    let dune = config.providers.values().next().expect("one provider");
    let own = &dune.polling;
    assert_eq!(
        (own.policy, own.price),
        (PolicyName::Backoff, PollPrice::Fixed(Duration::from_millis(10)))
    );
    assert_eq!(config.polling.policy, PolicyName::Learned);

    let config = ConfigCase::with_file(&format!("{DUNE_TOML}price = \"1h\"\n"))
        .with_env("JOBTRACK__POLLING__POLICY", "backoff")
        .load_ok()
        .config;
    let dune = config.providers.values().next().expect("one provider");
    let own = &dune.polling;
    assert_eq!(
        (own.policy, own.price),
        (PolicyName::Backoff, PollPrice::Fixed(Duration::from_hours(1)))
    );
}

#[test]
fn the_environment_overrides_the_file_and_the_file_the_default() {
    let case =
        ConfigCase::with_file("[polling]\nmax_interval = \"4m\"\nrequest_timeout = \"20s\"\n")
            .with_env("JOBTRACK__POLLING__MAX_INTERVAL", "2m");
    let loaded = case.load_ok();
    let polling = &loaded.config.polling;
    assert_eq!(polling.max_interval, Duration::from_mins(2));
    assert_eq!(polling.request_timeout, Duration::from_secs(20));
    assert_eq!(polling.min_interval, Duration::from_secs(1));
    let file = case.file.as_ref().expect("a file").display().to_string();
    let sources = [
        ("polling.max_interval", "\"2m\"", "$JOBTRACK__POLLING__MAX_INTERVAL"),
        ("polling.request_timeout", "\"20s\"", &file),
        ("polling.min_interval", "\"1s\"", "default"),
    ];
    for (key, value, source) in sources {
        assert_eq!(
            setting_with_source(&loaded, key),
            (value.to_owned(), source.to_owned()),
            "{key}"
        );
    }
}

#[test]
fn only_the_first_existing_file_is_read() {
    /// The command line, the variable, XDG's directory, and the file that is read.
    type FileChoice<'a> = (&'a str, Option<&'a PathBuf>, &'a str, &'a str, Option<&'a PathBuf>);
    let case = ConfigCase::new();
    let mode = |mode: &str| format!("[control]\nmode = \"{mode}\"\n");
    let named = case.write("named.toml", &mode("0601"));
    let xdg = case.write("xdg/jobtrack/config.toml", &mode("0602"));
    let explicit = case.write("explicit.toml", &mode("0603"));
    let home = xdg.ancestors().nth(2).expect("a directory").display().to_string();
    let (by_name, no_home) = (named.display().to_string(), case.dir.path().display().to_string());
    let cases: [FileChoice<'_>; 6] = [
        ("the command line first", Some(&explicit), &by_name, &home, Some(&explicit)),
        ("then the variable", None, &by_name, &home, Some(&named)),
        ("then XDG's", None, "", &home, Some(&xdg)),
        ("an empty variable is not set", None, "", "", None),
        ("XDG's need not be there", None, "", &no_home, None),
        ("the variable without XDG's", None, &by_name, "", Some(&named)),
    ];
    for (name, file, variable, home, expected) in cases {
        let mut case = ConfigCase::new()
            .with_env("JOBTRACK_CONFIG", variable)
            .with_env("XDG_CONFIG_HOME", home);
        case.file = file.cloned();
        let loaded = case.load_ok();
        let expected_mode = match expected {
            Some(path) if *path == named => 0o601,
            Some(path) if *path == xdg => 0o602,
            Some(_) => 0o603,
            None => 0o660,
        };
        assert_eq!(loaded.config.control.mode.0, expected_mode, "{name}");
        assert_eq!(loaded.file.as_ref(), expected, "{name}");
    }
}

#[test]
fn default_paths_come_from_systemd_then_from_xdg() {
    // The environment, and the directories of the database and the socket.
    type EnvVars<'a> = &'a [(&'a str, &'a str)];
    let cases: [(EnvVars<'_>, &str, &str); 3] = [
        (
            &[("XDG_STATE_HOME", "/home/x/state"), ("XDG_RUNTIME_DIR", "/run/user/7")],
            "/home/x/state/jobtrack",
            "/run/user/7/jobtrack",
        ),
        (
            &[
                ("STATE_DIRECTORY", "/s"),
                ("RUNTIME_DIRECTORY", "/r"),
                ("XDG_STATE_HOME", "/x"),
                ("XDG_RUNTIME_DIR", "/y"),
            ],
            "/s",
            "/r",
        ),
        (&[("STATE_DIRECTORY", "/a:/b"), ("RUNTIME_DIRECTORY", "/c:/d")], "/a", "/c"),
    ];
    for (given, state, run) in cases {
        let case =
            given.iter().fold(ConfigCase::new(), |case, (name, value)| case.with_env(name, value));
        let config = case.load_ok().config;
        assert_eq!(config.store.path, Path::new(state).join("jobtrack.db"), "{given:?}");
        assert_eq!(config.control.socket, Path::new(run).join("control.sock"), "{given:?}");
    }
}

#[test]
fn a_variable_is_text_unless_a_number_is_expected() {
    let case = ConfigCase::with_file(DUNE_TOML)
        .with_env("JOBTRACK__CONTROL__GROUP", "00123")
        .with_env("JOBTRACK__CONTROL__MODE", "0600")
        .with_env("JOBTRACK__STORE__PATH", "42")
        .with_env("JOBTRACK__PROVIDERS__DUNE__API_KEY__FILE", "7e3")
        .with_env("JOBTRACK__PROVIDERS__DUNE__REQUESTS_PER_MINUTE", "12")
        .with_env("JOBTRACK__PROVIDERS__DUNE__MAX_IN_FLIGHT", "3");
    let loaded = case.load_ok();
    let key_file = setting_with_source(&loaded, "providers.dune.api_key.file").0;
    assert_eq!(key_file, "\"7e3\"");
    let config = loaded.config;
    assert_eq!(config.control.group.as_deref(), Some("00123"));
    let path = std::path::absolute("42").expect("a current directory");
    assert_eq!((config.control.mode.0, config.store.path), (0o600, path));
    let dune = config.providers.values().next().expect("one provider");
    assert_eq!((dune.requests_per_minute, dune.max_in_flight), (12, 3));
}

#[test]
fn the_variables_of_the_client_are_not_settings() {
    ConfigCase::new().with_env("JOBTRACK_SOCKET", "/x").with_env("JOBTRACK", "1").load_ok();
}

#[test]
fn a_state_in_a_variable_keeps_its_case() {
    let name = "JOBTRACK__PROVIDERS__DUNE__STATE_MAP__";
    let case = ConfigCase::with_file(DUNE_TOML)
        .with_env(&format!("{name}DAYDREAMING"), "running")
        .with_env(&format!("{name}Asleep__at.noon"), "pending")
        .with_env("JOBTRACK__providers__dune__state_map__QUERY_STATE_x", "failed");
    let config = case.load_ok().config;
    let dune = config.providers.values().next().expect("one provider");
    let states: Vec<_> = dune.state_map.keys().map(String::as_str).collect();
    assert_eq!(states, ["Asleep__at.noon", "DAYDREAMING", "QUERY_STATE_x"]);
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let names =
        ["STORE__PATH", "POLLING__MAX_INTERVAL", "CONTROL__MODE", "PROVIDERS__DUNE__API_KEY"];
    let mut case = ConfigCase::with_file(DUNE_TOML).with_env("JOBTRACK_CONFIG", "");
    let without = case.load_ok().config;
    for name in names {
        case = case.with_env(&format!("JOBTRACK__{name}"), "");
    }
    assert_eq!(case.load_ok().config, without);
}

#[test]
fn the_home_directory_is_expanded_in_paths() {
    let text = "[store]\npath = \"~/data/jobtrack.db\"\n[control]\nsocket = \"~/run/s\"\n";
    let case = ConfigCase::with_file(text).with_env("HOME", "/home/someone");
    let config = case.load_ok().config;
    assert_eq!(config.store.path, Path::new("/home/someone/data/jobtrack.db"));
    assert_eq!(config.control.socket, Path::new("/home/someone/run/s"));
}

/// The warnings of a valid configuration.
fn warnings(case: &ConfigCase) -> Vec<String> {
    case.load_ok().warnings
}

#[test]
fn a_setting_without_an_effect_is_told() {
    let none: [String; 0] = [];
    assert_eq!(warnings(&ConfigCase::new()), none);
    let polling = |policy: &str| {
        let price = "price = \"2s\"";
        format!("{DUNE_TOML}{price}\n[polling]\npolicy = \"{policy}\"\n{price}\n")
    };
    assert_eq!(warnings(&ConfigCase::with_file(&polling("learned"))), none);
    let told = warnings(&ConfigCase::with_file(&polling("backoff")));
    let keys: Vec<_> = told.iter().filter_map(|text| text.split(' ').next()).collect();
    assert_eq!(keys, ["polling.price", "providers.dune.price"]);

    for variable in ["JOBTRACK_STORE__PATH", "JOBTRACK_DB", "jobtrack__store__path"] {
        let told = warnings(&ConfigCase::new().with_env(variable, "/x"));
        assert!(told.len() == 1 && told[0].contains(variable), "{variable}: {told:?}");
    }
    for variable in ["JOBTRACK_SOCKET", "JOBTRACK_PAGER", "JOBTRACK", "JOBTRACKING_X", "PATH"] {
        assert_eq!(warnings(&ConfigCase::new().with_env(variable, "/x")), none, "{variable}");
    }

    let told = warnings(&ConfigCase::with_file(DUNE_TOML).with_env("DUNE_API_KEY", "x"));
    assert!(told.len() == 1 && told[0].contains("DUNE_API_KEY has no effect"), "{told:?}");
    let named = "[providers.dune]\nkind = \"dune\"\napi_key = { env = \"DUNE_API_KEY\" }\n";
    assert_eq!(warnings(&ConfigCase::with_file(named).with_env("DUNE_API_KEY", "x")), none);
    assert_eq!(warnings(&ConfigCase::new().with_env("DUNE_API_KEY", "x")), none);
}

#[test]
fn a_secret_can_come_from_three_sources() {
    let places = [
        ("{ credential = \"dune-api-key\" }", "credential", "\"dune-api-key\""),
        ("{ file = \"/etc/key\" }", "file", "\"/etc/key\""),
        ("{ env = \"KEY\" }", "env", "\"KEY\""),
    ];
    for (text, source, expected) in places {
        let text = format!("[providers.x]\nkind = \"dune\"\napi_key = {text}\n");
        let loaded = ConfigCase::with_file(&text).load_ok();
        let (value, _) = setting_with_source(&loaded, &format!("providers.x.api_key.{source}"));
        assert_eq!(value, expected, "{text}");
    }
}

#[test]
fn the_api_key_in_the_environment_is_a_config_by_itself() {
    let by_key = || ConfigCase::new().with_env("DUNE_API_KEY", "secret");
    let loaded = by_key().load_ok();
    let (name, dune) = loaded.config.providers.first_key_value().expect("one provider");
    assert_eq!((name.as_str(), dune.kind), ("dune", "dune"));
    let (value, source) = setting_with_source(&loaded, "providers.dune.api_key.env");
    assert_eq!((value.as_str(), source.as_str()), ("\"DUNE_API_KEY\"", "$DUNE_API_KEY"));

    let url = "http://127.0.0.1:9";
    let completed = by_key().with_env("JOBTRACK__PROVIDERS__DUNE__BASE_URL", url).load_ok();
    let value = |key: &str| setting_with_source(&completed, &format!("providers.dune.{key}")).0;
    assert_eq!(value("base_url"), format!("{url:?}"));
    assert_eq!(value("api_key.env"), "\"DUNE_API_KEY\"", "it completes the section");

    for kind in ["", "kind = \"dune\"\n"] {
        let section = format!("[providers.dune]\n{kind}requests_per_minute = 5\n");
        let begun = ConfigCase::with_file(&section).with_env("DUNE_API_KEY", "x").load_ok();
        assert_eq!(setting_with_source(&begun, "providers.dune.requests_per_minute").0, "5");
        assert_eq!(setting_with_source(&begun, "providers.dune.api_key.env").0, "\"DUNE_API_KEY\"");
    }
}

#[test]
fn the_api_key_changes_nothing_where_a_provider_is_configured() {
    let other = DUNE_TOML.replace("providers.dune", "providers.other");
    for text in [DUNE_TOML, &other] {
        let with = ConfigCase::with_file(text).with_env("DUNE_API_KEY", "secret").load_ok();
        let without = ConfigCase::with_file(text).load_ok();
        assert_eq!(with.config, without.config, "{text}");
    }
    assert!(
        ConfigCase::new().with_env("DUNE_API_KEY", "").load_ok().config.providers.is_empty(),
        "empty"
    );
}

#[test]
fn huawei_sdk_variables_replace_auth() {
    let lake = "[providers.lake]\nkind = \"dli\"\nregion = \"cn-north-4\"\n";
    let with = |text: &str| {
        ConfigCase::with_file(text)
            .with_env("HUAWEICLOUD_SDK_AK", "secret-ak")
            .with_env("HUAWEICLOUD_SDK_SK", "secret-sk")
            .with_env("HUAWEICLOUD_SDK_PROJECT_ID", "4f1")
    };
    let loaded = with(lake).with_env("HUAWEICLOUD_SDK_SECURITY_TOKEN", "secret-token").load_ok();
    for (key, name) in [("ak", "AK"), ("sk", "SK"), ("security_token", "SECURITY_TOKEN")] {
        let variable = format!("HUAWEICLOUD_SDK_{name}");
        let expected = (format!("\"{variable}\""), format!("${variable}"));
        assert_eq!(
            setting_with_source(&loaded, &format!("providers.lake.auth.{key}.env")),
            expected
        );
    }
    let project = ("\"4f1\"".to_owned(), "$HUAWEICLOUD_SDK_PROJECT_ID".to_owned());
    assert_eq!(setting_with_source(&loaded, "providers.lake.project_id"), project);
    assert!(!format!("{loaded:?}").contains("secret-"), "{loaded:?}");

    let own = format!("{lake}project_id = \"own\"\nauth = {{ token = {{ env = \"T\" }} }}\n");
    let loaded = with(&own).load_ok();
    assert_eq!(setting_with_source(&loaded, "providers.lake.project_id").0, "\"own\"");
    assert!(loaded.settings.iter().all(|setting| !setting.source.contains("SDK")));

    let half = ConfigCase::with_file(lake).with_env("HUAWEICLOUD_SDK_AK", "secret-ak");
    assert!(half.load_error().contains("providers.lake.auth is needed"), "{}", half.load_error());
}

#[test]
fn huawei_sdk_file_is_used_without_its_variables() {
    let lake = "[providers.lake]\nkind = \"dli\"\nregion = \"cn-north-4\"\n";
    let case = ConfigCase::with_file(lake);
    let home = case.dir.path().join("home").display().to_string();
    let text = "[other]\nak = secret-other\n[basic]\n ak = secret-ak\nsk=secret-sk \n\
                project_id = 4f1\nsecurity_token =\n[global]\nsecurity_token = secret-token\n";
    let path = case.write("home/.huaweicloud/credentials", text).display().to_string();
    let case = case.with_env("HOME", &home);
    let loaded = case.load_ok();
    for key in ["ak", "sk"] {
        let expected = (format!("\"{key}\""), path.clone());
        assert_eq!(
            setting_with_source(&loaded, &format!("providers.lake.auth.{key}.profile")),
            expected
        );
    }
    assert_eq!(
        setting_with_source(&loaded, "providers.lake.project_id"),
        ("\"4f1\"".to_owned(), path)
    );
    assert!(!format!("{loaded:?}").contains("secret-"), "{loaded:?}");
    assert!(loaded.settings.iter().all(|setting| !setting.key.contains("security_token")));

    let both = case
        .with_env("HUAWEICLOUD_SDK_AK", "secret-ak")
        .with_env("HUAWEICLOUD_SDK_SK", "secret-sk")
        .with_env("HUAWEICLOUD_SDK_PROJECT_ID", "4f1");
    let source = setting_with_source(&both.load_ok(), "providers.lake.auth.ak.env").1;
    assert_eq!(source, "$HUAWEICLOUD_SDK_AK", "the variables come first");
}
