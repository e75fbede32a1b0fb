//! Error messages name the file, the line, the key and what is allowed.

use super::{ConfigCase, setting_with_source};

/// A file, the line of the error, the key, and texts that the message must contain.
type InvalidCase<'a> = (&'a str, usize, &'a str, &'a [&'a str]);

const DUNE_TOML: &str = "[providers.dune]\nkind = \"dune\"\napi_key = { file = \"/key\" }\n";

fn assert_errors(cases: &[InvalidCase<'_>]) {
    for (text, line, key, words) in cases {
        let case = ConfigCase::with_file(text);
        let file = case.file.as_ref().expect("a file").display().to_string();
        let why = case.load_error();
        let expected_error = format!("{file}:{line}: {key} ");
        assert!(
            why.lines().any(|one| one.starts_with(&expected_error)),
            "{expected_error}…\n{why}"
        );
        for word in *words {
            assert!(why.contains(word), "{key}: {word:?} is missing\n{why}");
        }
    }
}

#[test]
fn fault_54_an_unknown_key_is_named_with_those_that_are_known() {
    assert_errors(&[
        (
            "bogus = 1\n",
            1,
            "bogus",
            &["is not a setting", "store, control, polling, maintenance, log, providers"],
        ),
        ("\n[stor]\npath = \"/x\"\n", 2, "stor", &["is not a setting", "store"]),
        (
            "[store]\npaht = \"/x\"\n",
            2,
            "store.paht",
            &["is not a setting", ": path, allow_network_file_system, statement"],
        ),
        ("[control]\nsock = \"/x\"\n", 2, "control.sock", &["socket, mode, group"]),
        (
            "[polling]\nmin_interval = \"2s\"\nmaximum = \"1m\"\n",
            3,
            "polling.maximum",
            &["policy, price, min_interval, max_interval, request_timeout, give_up_after"],
        ),
        (
            &format!("{DUNE_TOML}rpm = 5\n"),
            4,
            "providers.dune.rpm",
            &[
                "here these are: kind, base_url, api_key, account, previous_names",
                "requests_per_minute, max_in_flight",
                "policy, price, min_interval",
            ],
        ),
    ]);
}

#[test]
fn fault_54_a_wrong_type_or_value_is_named_with_what_is_allowed() {
    let dune = |line: &str| format!("{DUNE_TOML}{line}\n");
    let with = |key: &str, value: &str| dune(&format!("{key} = {value}"));
    let rpm = "providers.dune.requests_per_minute";
    assert_errors(&[
        ("[store]\npath = 5\n", 2, "store.path", &["not a whole number"]),
        ("store = 5\n", 1, "store", &["not a whole number"]),
        ("[control]\nmode = 432\n", 2, "control.mode", &["not a whole number"]),
        ("[control]\nmode = \"rw\"\n", 2, "control.mode", &["octal", "0660"]),
        ("[control]\nmode = \"0888\"\n", 2, "control.mode", &["octal"]),
        ("[control]\nmode = \"4660\"\n", 2, "control.mode", &["octal"]),
        ("[control]\ngroup = true\n", 2, "control.group", &["not a boolean"]),
        ("[polling]\nmin_interval = 5\n", 2, "polling.min_interval", &["not a whole number"]),
        ("[polling]\nmin_interval = \"soon\"\n", 2, "polling.min_interval", &["duration", "90s"]),
        ("[polling]\nmin_interval = \"5\"\n", 2, "polling.min_interval", &["duration"]),
        ("[polling]\nmin_interval = \"-5s\"\n", 2, "polling.min_interval", &["duration"]),
        ("[polling]\nmin_interval = \"0s\"\n", 2, "polling.min_interval", &["at least 100ms"]),
        ("[polling]\ngive_up_after = \"2y\"\n", 2, "polling.give_up_after", &["at most 400d"]),
        ("[polling]\npolicy = \"guess\"\n", 2, "polling.policy", &["learned, backoff"]),
        ("[polling]\nprice = \"9ms\"\n", 2, "polling.price", &["at least 10ms", "at most 1h"]),
        ("[polling]\nprice = \"61m\"\n", 2, "polling.price", &["at most 1h"]),
        (&with("price", "\"2h\""), 4, "providers.dune.price", &["at most 1h"]),
        (&with("policy", "\"none\""), 4, "providers.dune.policy", &["learned, backoff"]),
        (
            "[polling]\nmin_interval = \"10m\"\nmax_interval = \"9m\"\n",
            3,
            "polling.max_interval",
            &["not be less than min_interval"],
        ),
        (&with("max_interval", "\"5ms\""), 4, "providers.dune.max_interval", &["at least"]),
        (
            &with("min_interval", "\"10m\""),
            1,
            "providers.dune.max_interval",
            &["not be less than min_interval"],
        ),
        (&with("requests_per_minute", "0"), 4, rpm, &["1 to 60000"]),
        (&with("requests_per_minute", "60001"), 4, rpm, &["1 to 60000"]),
        (&with("requests_per_minute", "-1"), 4, rpm, &["must be"]),
        (&with("requests_per_minute", "99999999999"), 4, rpm, &["must be"]),
        (&with("requests_per_minute", "\"many\""), 4, rpm, &["not text"]),
        (&with("requests_per_minute", "1.5"), 4, rpm, &["fraction"]),
        (&with("max_in_flight", "0"), 4, "providers.dune.max_in_flight", &["1 to 1000"]),
        (&with("account", "\"My Account\""), 4, "providers.dune.account", &["lower-case"]),
        (&with("account", "5"), 4, "providers.dune.account", &["not a whole number"]),
        (&with("previous_names", "\"old\""), 4, "providers.dune.previous_names", &["not text"]),
        (
            &with("previous_names", "[\"My Secret\"]"),
            4,
            "providers.dune.previous_names",
            &["lower-case"],
        ),
        (&with("base_url", "\"http://api.dune.com\""), 4, "providers.dune.base_url", &["https"]),
        (&with("base_url", "\"http://10.1.2.3\""), 4, "providers.dune.base_url", &["loopback"]),
        (&with("base_url", "\"nonsense\""), 4, "providers.dune.base_url", &["https"]),
        ("[providers.dune]\nkind = \"sparql\"\n", 2, "providers.dune.kind", &["one of: dune"]),
        ("[providers.dune]\napi_key = { env = \"K\" }\n", 1, "providers.dune.kind", &["not set"]),
        ("[providers.dune]\nkind = \"dune\"\n", 1, "providers.dune.api_key", &["needed"]),
        ("[providers.Dune]\nkind = \"dune\"\n", 1, "providers.Dune", &["lower-case"]),
        ("[providers]\ndune = 5\n", 2, "providers.dune", &["not a whole number"]),
    ]);
}

#[test]
fn a_previous_name_belongs_to_one_provider_and_is_not_configured() {
    let dune = |name: &str, formerly: &str| {
        let section = DUNE_TOML.replace("providers.dune", &format!("providers.{name}"));
        format!("{section}previous_names = [{formerly}]\n")
    };
    let both = |one: &str, two: &str| format!("{}{}", dune("a", one), dune("b", two));
    ConfigCase::with_file(&both("\"c\", \"d\"", "\"e\"")).load_ok();
    assert_errors(&[
        (&dune("a", "\"c\", \"a\""), 4, "providers.a.previous_names", &["must not name a itself"]),
        (&both("\"b\"", ""), 4, "providers.a.previous_names", &["b, which is configured"]),
        (
            &both("\"c\"", "\"d\", \"c\""),
            8,
            "providers.b.previous_names",
            &["c, which providers.a.previous_names names as well"],
        ),
    ]);
    let secret = ConfigCase::with_file(&dune("a", "\"My Secret\"")).load_error();
    assert!(!secret.contains("Secret"), "{secret}");
}

#[test]
fn fault_53_a_socket_path_that_does_not_fit_is_refused() {
    let socket = |length: usize| {
        let path = format!("/{}", "s".repeat(length - 1));
        ConfigCase::with_file(&format!("[control]\nsocket = \"{path}\"\n"))
    };
    socket(107).load_ok();
    for length in [108, 4000] {
        let why = socket(length).load_error();
        assert!(why.contains(":2: control.socket") && why.contains("107 bytes"), "{why}");
    }
}

#[test]
fn a_path_that_names_no_file_is_refused() {
    let key_file =
        |path: &str| format!("[providers.x]\nkind = \"dune\"\napi_key = {{ file = \"{path}\" }}\n");
    for path in ["~someone/x", "$HOME/x", "${HOME}/x", "/data/", "~", "a\\u0000b"] {
        for text in [
            format!("[store]\npath = \"{path}\"\n"),
            format!("[control]\nsocket = \"{path}\"\n"),
            key_file(path),
        ] {
            let why = ConfigCase::with_file(&text).load_error();
            let told = why.contains("whole path")
                || why.contains("not expanded")
                || why.contains("not of a directory")
                || why.contains("control characters");
            assert!(told && why.contains("config.toml:"), "{text}: {why}");
            assert!(!why.contains("someone"), "a value is repeated: {why}");
        }
    }
    let why = ConfigCase::with_file("[store]\npath = \"\"\n").load_error();
    assert!(why.contains("store.path must be a path"), "{why}");
}

#[test]
fn all_validation_errors_are_reported_at_once() {
    let why = ConfigCase::with_file(&format!(
        "{DUNE_TOML}max_in_flight = 0\n[polling]\nrequest_timeout = \"1ms\"\n"
    ))
    .load_error();
    for key in ["providers.dune.max_in_flight", "polling.request_timeout"] {
        assert!(why.contains(key), "{key}\n{why}");
    }
}

#[test]
fn lost_after_is_at_least_one_minute() {
    for key in ["lost_after", "lost_after_never_seen"] {
        let set = |value: &str| format!("[polling]\n{key} = \"{value}\"\n{DUNE_TOML}");
        for good in ["1m", "400d"] {
            ConfigCase::with_file(&set(good)).load_ok();
        }
        for bad in ["59s", "0s", "401d"] {
            assert_errors(&[(&set(bad), 2, &format!("polling.{key}"), &["at least 1m"])]);
        }
        let own = format!("{DUNE_TOML}{key} = \"59s\"\n");
        assert_errors(&[(
            &own,
            4,
            &format!("providers.dune.{key}"),
            &["at least 1m and at most 400d"],
        )]);
    }
}

#[test]
fn state_map_values_are_states_a_provider_can_report() {
    for good in ["pending", "running", "succeeded", "failed", "cancelled", "expired"] {
        ConfigCase::with_file(&format!("{DUNE_TOML}state_map = {{ DAYDREAMING = \"{good}\" }}\n"))
            .load_ok();
    }
    let key = "providers.dune.state_map.DAYDREAMING";
    let allowed = "must be one of: pending, running, succeeded, failed, cancelled, expired";
    for bad in ["unknown", "registered", "indeterminate", "lost", "untracked", "Running", ""] {
        let text = format!("{DUNE_TOML}state_map = {{ DAYDREAMING = \"{bad}\" }}\n");
        assert_errors(&[(&text, 4, key, &[allowed])]);
    }
    assert_errors(&[(
        &format!("{DUNE_TOML}state_map = {{ DAYDREAMING = 5 }}\n"),
        4,
        key,
        &["must be"],
    )]);
}

#[test]
fn an_invalid_environment_variable_is_named() {
    let cases = [
        ("JOBTRACK__STORE__PAHT", "/x", "store.paht is not a setting"),
        ("JOBTRACK__POLLING__MIN_INTERVAL", "soon", "polling.min_interval must be a duration"),
        ("JOBTRACK__CONTROL__MODE", "rw", "control.mode must be octal"),
        ("JOBTRACK__BOGUS", "x", "bogus is not a setting"),
    ];
    for (name, value, complaint) in cases {
        let why = ConfigCase::new().with_env(name, value).load_error();
        assert!(why.contains(complaint) && why.contains(&format!("${name}: ")), "{name}: {why}");
    }
}

#[test]
fn fault_54_a_file_that_cannot_be_read_is_named() {
    let case = ConfigCase::new();
    let binary = case.dir.path().join("binary.toml");
    std::fs::write(&binary, b"[store]\npath = \"/\xff\"\n").expect("a file");
    let cases = [
        (case.dir.path().join("missing.toml"), "No such file"),
        (case.dir.path().to_owned(), "directory"),
        (binary, "UTF-8"),
    ];
    for (path, word) in cases {
        let explicit = ConfigCase { file: Some(path.clone()), ..ConfigCase::new() };
        let by_variable =
            ConfigCase::new().with_env("JOBTRACK_CONFIG", &path.display().to_string());
        for case in [explicit, by_variable] {
            let why = case.load_error();
            assert!(why.contains(&path.display().to_string()) && why.contains(word), "{why}");
        }
    }
}

#[test]
fn fault_54_a_syntax_error_is_reported_with_its_line() {
    let cases = [
        ("[store\npath = \"/x\"\n", 1),
        ("[store]\n\npath = /x\n", 3),
        ("[store]\npath = \"/x\"\npath = \"/y\"\n", 3),
        ("[store]\npath = \"/x\n", 2),
        ("[control]\nmode \"0660\"\n", 2),
    ];
    for (text, line) in cases {
        let case = ConfigCase::with_file(text);
        let file = case.file.as_ref().expect("a file").display().to_string();
        let why = case.load_error();
        let place = format!("{file}:{line}: ");
        assert!(why.starts_with(&place) && why.len() > place.len(), "{text}\n{why}");
    }
}

#[test]
fn a_huawei_account_has_a_token_a_user_or_a_key_and_no_mixture() {
    let dli = |auth: &str| {
        format!(
            "[providers.lake]\nkind = \"dli\"\nregion = \"cn-north-4\"\nproject_id = \"4f1\"\n\
             auth = {auth}\n"
        )
    };
    let table = |keys: &[&str]| {
        let keys: Vec<_> = keys.iter().map(|key| format!("{key} = {{ env = \"K\" }}")).collect();
        dli(&format!("{{ {} }}", keys.join(", ")))
    };
    for good in [&["token"][..], &["ak", "sk"], &["security_token", "sk", "ak"]] {
        ConfigCase::with_file(&table(good)).load_ok();
    }
    let bad = [
        &[][..],
        &["ak"],
        &["sk"],
        &["security_token"],
        &["ak", "security_token"],
        &["token", "ak"],
        &["token", "security_token"],
        &["token", "ak", "sk"],
    ];
    let auth = "providers.lake.auth";
    for keys in bad {
        let text = table(keys);
        assert_errors(&[(
            &text,
            5,
            auth,
            &["{ token = … }", "{ ak = …, sk = … }", "security_token"],
        )]);
    }
    assert_errors(&[
        (
            &dli("\"text\""),
            5,
            auth,
            &["must be { token = … }, { user = …, … } or { ak = …, … }, not text"],
        ),
        (
            &table(&["tokens"]),
            5,
            "providers.lake.auth.tokens",
            &["token, user, password, domain, project, ak, sk, security_token"],
        ),
        (&dli("{ ak = \"x\", sk = 5 }"), 5, "providers.lake.auth.ak", &["never the text itself"]),
    ]);
    let user = r#"user = "u", domain = "d", password = { env = "P" }"#;
    for more in ["", r#", project = "p""#] {
        let loaded = ConfigCase::with_file(&dli(&format!("{{ {user}{more} }}"))).load_ok();
        let iam_url = setting_with_source(&loaded, "providers.lake.iam_url").0;
        assert_eq!(iam_url, "\"https://iam.cn-north-4.myhuaweicloud.com\"");
    }
    for wrong in [
        r#"{ user = "u", domain = "d" }"#,
        r#"{ user = "u", password = { env = "P" } }"#,
        r#"{ domain = "d", password = { env = "P" } }"#,
        r#"{ project = "p" }"#,
        r#"{ token = { env = "T" }, project = "p" }"#,
        &format!("{{ {user}, token = {{ env = \"T\" }} }}"),
        &format!("{{ {user}, ak = {{ env = \"A\" }} }}"),
        &format!("{{ {user}, ak = {{ env = \"A\" }}, sk = {{ env = \"S\" }} }}"),
    ] {
        assert_errors(&[(&dli(wrong), 5, auth, &["password = …, domain = ", "project = "])]);
    }
    let named = dli(&format!("{{ {user} }}"));
    for region in ["cn north-4", "evil.example/", "evil.example#", "", "eu-west-1", "us-east-1"] {
        let text = named.replace("cn-north-4", region);
        assert_errors(&[(
            &text,
            3,
            "providers.lake.region",
            &["is not a known region", "base_url"],
        )]);
    }
    let iam = "providers.lake.iam_url";
    let elsewhere = named.replace("region = \"cn-north-4\"", "base_url = \"https://dli.example\"");
    assert_errors(&[
        (&elsewhere, 1, iam, &["is needed for auth with a user if region is not set"]),
        (&format!("{named}iam_url = \"http://iam.example\"\n"), 6, iam, &["https://HOST"]),
        (
            &format!("{DUNE_TOML}iam_url = \"https://iam.example\"\n"),
            4,
            "providers.dune.iam_url",
            &["is not a setting", "kind, base_url, api_key"],
        ),
    ]);
    let mixed = ConfigCase::with_file(&table(&["token"]))
        .with_env("JOBTRACK__PROVIDERS__LAKE__AUTH__AK__ENV", "K");
    assert!(mixed.load_error().contains("{ ak = …, sk = … }"), "{}", mixed.load_error());
}
