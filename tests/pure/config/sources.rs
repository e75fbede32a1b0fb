//! Which source wins: defaults, one file, the environment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jobtrack::config::{PolicyName, ProviderKind, SecretRef, SocketMode};

use super::{Case, shown};

const DUNE: &str = "[providers.dune]\nkind = \"dune\"\napi_key = { file = \"/key\" }\n";

#[test]
fn with_nothing_set_the_defaults_are_in_force() {
    let loaded = Case::new().good();
    let config = &loaded.config;
    assert_eq!(loaded.file, None);
    assert_eq!(config.store.path, Path::new("/var/lib/jobtrack/jobtrack.db"));
    assert_eq!(config.control.socket, Path::new("/run/jobtrack/control.sock"));
    assert_eq!((config.control.mode, &config.control.group), (SocketMode(0o660), &None));
    let polling = &config.polling;
    let spans = [polling.min_interval, polling.max_interval, polling.request_timeout];
    assert_eq!(spans, [1, 300, 30].map(Duration::from_secs));
    assert_eq!(polling.give_up_after, Duration::from_hours(30 * 24));
    assert_eq!((polling.policy, polling.price), (PolicyName::Learned, Duration::from_secs(1)));
    assert!(config.providers.is_empty());
    assert!(loaded.settings.iter().all(|setting| setting.source == "default"));
}

#[test]
fn a_provider_has_the_defaults_of_its_kind() {
    let loaded = Case::file(DUNE).good();
    let dune = loaded.config.providers.values().next().expect("one provider");
    assert_eq!(dune.base_url().as_deref(), Some("https://api.dune.com"));
    assert_eq!((dune.requests_per_minute(), dune.max_in_flight()), (30, 8));
    assert_eq!(dune.effective_polling(&loaded.config.polling), loaded.config.polling);
    let (value, source) = shown(&loaded, "providers.dune.requests_per_minute");
    assert_eq!((value.as_str(), source.as_str()), ("30", "default of kind dune"));
}

#[test]
fn a_providers_own_rules_go_before_those_for_all() {
    let text = format!("{DUNE}min_interval = \"7s\"\n[polling]\nmin_interval = \"3s\"\n");
    let config = Case::file(&text).good().config;
    let dune = config.providers.values().next().expect("one provider");
    let own = dune.effective_polling(&config.polling);
    assert_eq!(
        (own.min_interval, own.max_interval),
        (Duration::from_secs(7), Duration::from_mins(5))
    );
    assert_eq!(config.polling.min_interval, Duration::from_secs(3));
}

#[test]
fn a_provider_may_have_a_policy_and_a_price_of_its_own() {
    let text = format!("{DUNE}policy = \"backoff\"\n[polling]\nprice = \"10ms\"\n");
    let config = Case::file(&text).good().config;
    let dune = config.providers.values().next().expect("one provider");
    let own = dune.effective_polling(&config.polling);
    assert_eq!((own.policy, own.price), (PolicyName::Backoff, Duration::from_millis(10)));
    assert_eq!(config.polling.policy, PolicyName::Learned);

    let config = Case::file(&format!("{DUNE}price = \"1h\"\n"))
        .env("JOBTRACK__POLLING__POLICY", "backoff")
        .good()
        .config;
    let dune = config.providers.values().next().expect("one provider");
    let own = dune.effective_polling(&config.polling);
    assert_eq!((own.policy, own.price), (PolicyName::Backoff, Duration::from_hours(1)));
}

#[test]
fn the_environment_goes_before_the_file_before_the_default() {
    let case = Case::file("[polling]\nmax_interval = \"4m\"\nrequest_timeout = \"20s\"\n")
        .env("JOBTRACK__POLLING__MAX_INTERVAL", "2m");
    let loaded = case.good();
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
        assert_eq!(shown(&loaded, key), (value.to_owned(), source.to_owned()), "{key}");
    }
}

#[test]
fn the_first_file_there_is_is_the_only_one() {
    /// What is set (command line, variable, XDG's directory), and which file is read.
    type Choice<'a> = (&'a str, Option<&'a PathBuf>, &'a str, &'a str, Option<&'a PathBuf>);
    let case = Case::new();
    let mode = |mode: &str| format!("[control]\nmode = \"{mode}\"\n");
    let named = case.write("named.toml", &mode("0601"));
    let xdg = case.write("xdg/jobtrack/config.toml", &mode("0602"));
    let explicit = case.write("explicit.toml", &mode("0603"));
    let home = xdg.ancestors().nth(2).expect("a directory").display().to_string();
    let (by_name, no_home) = (named.display().to_string(), case.dir.path().display().to_string());
    let cases: [Choice<'_>; 6] = [
        ("the command line first", Some(&explicit), &by_name, &home, Some(&explicit)),
        ("then the variable", None, &by_name, &home, Some(&named)),
        ("then XDG's", None, "", &home, Some(&xdg)),
        ("an empty variable is not set", None, "", "", None),
        ("XDG's need not be there", None, "", &no_home, None),
        ("the variable without XDG's", None, &by_name, "", Some(&named)),
    ];
    for (name, file, variable, home, expected) in cases {
        let mut case = Case::new().env("JOBTRACK_CONFIG", variable).env("XDG_CONFIG_HOME", home);
        case.file = file.cloned();
        let loaded = case.good();
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
fn the_directories_are_systemds_then_xdgs_then_the_systems() {
    // The environment, the database's directory, the socket's.
    type Given<'a> = &'a [(&'a str, &'a str)];
    let cases: [(Given<'_>, &str, &str); 5] = [
        (&[], "/var/lib/jobtrack", "/run/jobtrack"),
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
        (&[("STATE_DIRECTORY", ""), ("XDG_RUNTIME_DIR", "")], "/var/lib/jobtrack", "/run/jobtrack"),
    ];
    for (given, state, run) in cases {
        let case = given.iter().fold(Case::new(), |case, (name, value)| case.env(name, value));
        let config = case.good().config;
        assert_eq!(config.store.path, Path::new(state).join("jobtrack.db"), "{given:?}");
        assert_eq!(config.control.socket, Path::new(run).join("control.sock"), "{given:?}");
    }
}

#[test]
fn a_variable_is_text_but_where_a_number_is_wanted() {
    let case = Case::file(DUNE)
        .env("JOBTRACK__CONTROL__GROUP", "00123")
        .env("JOBTRACK__CONTROL__MODE", "0600")
        .env("JOBTRACK__STORE__PATH", "42")
        .env("JOBTRACK__PROVIDERS__DUNE__API_KEY__FILE", "7e3")
        .env("JOBTRACK__PROVIDERS__DUNE__REQUESTS_PER_MINUTE", "12")
        .env("JOBTRACK__PROVIDERS__DUNE__MAX_IN_FLIGHT", "3");
    let config = case.good().config;
    assert_eq!(config.control.group.as_deref(), Some("00123"));
    assert_eq!((config.control.mode.0, config.store.path), (0o600, PathBuf::from("42")));
    let dune = config.providers.values().next().expect("one provider");
    assert_eq!(dune.api_key, Some(SecretRef::File("7e3".into())));
    assert_eq!((dune.requests_per_minute(), dune.max_in_flight()), (12, 3));
}

#[test]
fn the_variables_of_the_client_are_not_settings() {
    Case::new().env("JOBTRACK_SOCKET", "/x").env("JOBTRACK", "1").good();
}

#[test]
fn a_secret_can_lie_in_three_places() {
    let places = [
        ("{ credential = \"dune-api-key\" }", SecretRef::Credential("dune-api-key".into())),
        ("{ file = \"/etc/key\" }", SecretRef::File("/etc/key".into())),
        ("{ env = \"KEY\" }", SecretRef::Env("KEY".into())),
    ];
    for (text, expected) in places {
        let text = format!("[providers.x]\nkind = \"dune\"\napi_key = {text}\n");
        let config = Case::file(&text).good().config;
        let provider = config.providers.values().next().expect("one provider");
        assert_eq!(provider.api_key, Some(expected), "{text}");
    }
}

#[test]
fn the_api_key_in_the_environment_is_a_config_by_itself() {
    let by_key = || Case::new().env("DUNE_API_KEY", "secret");
    let key = Some(SecretRef::Env("DUNE_API_KEY".into()));
    let loaded = by_key().good();
    let (name, dune) = loaded.config.providers.first_key_value().expect("one provider");
    assert_eq!((name.as_str(), dune.kind, &dune.api_key), ("dune", ProviderKind::Dune, &key));
    let (value, source) = shown(&loaded, "providers.dune.api_key.env");
    assert_eq!((value.as_str(), source.as_str()), ("\"DUNE_API_KEY\"", "$DUNE_API_KEY"));

    let url = "http://127.0.0.1:9";
    let completed = by_key().env("JOBTRACK__PROVIDERS__DUNE__BASE_URL", url).good().config;
    let dune = completed.providers.values().next().expect("one provider");
    assert_eq!(dune.base_url().as_deref(), Some(url));
    assert_eq!(dune.api_key, key, "it completes what is begun");

    let begun = Case::file("[providers.dune]\nrequests_per_minute = 5\n").env("DUNE_API_KEY", "x");
    let config = begun.good().config;
    let dune = config.providers.values().next().expect("one provider");
    assert_eq!((dune.requests_per_minute(), &dune.api_key), (5, &key));
}

#[test]
fn the_api_key_changes_nothing_where_a_provider_is_configured() {
    let other = DUNE.replace("providers.dune", "providers.other");
    for text in [DUNE, &other] {
        let with = Case::file(text).env("DUNE_API_KEY", "secret").good();
        let without = Case::file(text).good();
        assert_eq!(with.config, without.config, "{text}");
    }
    assert!(Case::new().env("DUNE_API_KEY", "").good().config.providers.is_empty(), "empty");
}

#[test]
fn the_variables_of_huaweis_sdk_stand_in_for_auth() {
    let lake = "[providers.lake]\nkind = \"dli\"\nregion = \"cn-north-4\"\n";
    let with = |text: &str| {
        Case::file(text)
            .env("HUAWEICLOUD_SDK_AK", "secret-ak")
            .env("HUAWEICLOUD_SDK_SK", "secret-sk")
            .env("HUAWEICLOUD_SDK_PROJECT_ID", "4f1")
    };
    let loaded = with(lake).env("HUAWEICLOUD_SDK_SECURITY_TOKEN", "secret-token").good();
    for (key, name) in [("ak", "AK"), ("sk", "SK"), ("security_token", "SECURITY_TOKEN")] {
        let variable = format!("HUAWEICLOUD_SDK_{name}");
        let expected = (format!("\"{variable}\""), format!("${variable}"));
        assert_eq!(shown(&loaded, &format!("providers.lake.auth.{key}.env")), expected);
    }
    let project = ("\"4f1\"".to_owned(), "$HUAWEICLOUD_SDK_PROJECT_ID".to_owned());
    assert_eq!(shown(&loaded, "providers.lake.project_id"), project);
    assert!(!format!("{loaded:?}").contains("secret-"), "{loaded:?}");

    let own = format!("{lake}project_id = \"own\"\nauth = {{ token = {{ env = \"T\" }} }}\n");
    let loaded = with(&own).good();
    assert_eq!(shown(&loaded, "providers.lake.project_id").0, "\"own\"");
    assert!(loaded.settings.iter().all(|setting| !setting.source.contains("SDK")));

    let half = Case::file(lake).env("HUAWEICLOUD_SDK_AK", "secret-ak");
    assert!(half.refused().contains("providers.lake.auth is needed"), "{}", half.refused());
}

#[test]
fn the_file_of_huaweis_sdk_stands_in_where_its_variables_do_not() {
    let lake = "[providers.lake]\nkind = \"dli\"\nregion = \"cn-north-4\"\n";
    let case = Case::file(lake);
    let home = case.dir.path().join("home").display().to_string();
    let text = "[other]\nak = secret-other\n[basic]\n ak = secret-ak\nsk=secret-sk \n\
                project_id = 4f1\nsecurity_token =\n[global]\nsecurity_token = secret-token\n";
    let path = case.write("home/.huaweicloud/credentials", text).display().to_string();
    let case = case.env("HOME", &home);
    let loaded = case.good();
    for key in ["ak", "sk"] {
        let expected = (format!("\"{key}\""), path.clone());
        assert_eq!(shown(&loaded, &format!("providers.lake.auth.{key}.profile")), expected);
    }
    assert_eq!(shown(&loaded, "providers.lake.project_id"), ("\"4f1\"".to_owned(), path));
    assert!(!format!("{loaded:?}").contains("secret-"), "{loaded:?}");
    assert!(loaded.settings.iter().all(|setting| !setting.key.contains("security_token")));

    let both = case
        .env("HUAWEICLOUD_SDK_AK", "secret-ak")
        .env("HUAWEICLOUD_SDK_SK", "secret-sk")
        .env("HUAWEICLOUD_SDK_PROJECT_ID", "4f1");
    let source = shown(&both.good(), "providers.lake.auth.ak.env").1;
    assert_eq!(source, "$HUAWEICLOUD_SDK_AK", "the variables come first");
}
