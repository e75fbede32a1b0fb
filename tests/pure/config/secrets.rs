//! A secret in the wrong place is an error whose message does not repeat it.

use super::ConfigCase;

const CANARY_SECRET: &str = "Canary-6b1f93e0";

#[test]
fn fault_56_a_secret_written_into_the_config_is_not_repeated() {
    let values = [
        ("text", format!("\"{CANARY_SECRET}\"")),
        ("bare", CANARY_SECRET.to_owned()),
        ("unfinished text", format!("\"{CANARY_SECRET}")),
        ("a list", format!("[\"{CANARY_SECRET}\"]")),
        ("under a wrong key", format!("{{ key = \"{CANARY_SECRET}\" }}")),
        ("as a key", format!("{{ \"{CANARY_SECRET}\" = \"env\" }}")),
        ("beside a reference", format!("{{ env = \"KEY\", value = \"{CANARY_SECRET}\" }}")),
        ("nested", format!("{{ file = {{ path = \"{CANARY_SECRET}\" }} }}")),
        ("deeply nested", format!("{{ a = {{ b = [{{ c = \"{CANARY_SECRET}\" }}] }} }}")),
        ("in a list of a reference", format!("{{ env = [\"{CANARY_SECRET}\"] }}")),
        ("a path as credential", format!("{{ credential = \"/run/{CANARY_SECRET}\" }}")),
    ];
    for (name, value) in values {
        let text = format!("[providers.dune]\nkind = \"dune\"\napi_key = {value}\n");
        let why = ConfigCase::with_file(&text).load_error();
        assert!(!why.contains(CANARY_SECRET), "{name}: {why}");
        assert!(why.contains(":3: "), "{name}: the line is told: {why}");
    }
}

#[test]
fn fault_56_other_types_in_the_place_of_a_reference_are_not_repeated() {
    let canaries =
        ["74219355", "-74219355", "7421.9355", "true", "2026-11-22T10:00:00Z", "[]", "{}"];
    for value in canaries {
        let text = format!("[providers.dune]\nkind = \"dune\"\napi_key = {value}\n");
        let case = ConfigCase::with_file(&text);
        let file = case.file.as_ref().expect("a file").display().to_string();
        let expected = format!(
            "{file}:3: providers.dune.api_key must be {{ credential = \"…\" }}, {{ file = \"…\" }} \
             or {{ env = \"…\" }}, never the text itself"
        );
        assert_eq!(case.load_error(), expected, "{value}");
    }
}

#[test]
fn fault_56_a_secret_in_another_settings_place_is_not_repeated() {
    let text = |key: &str, value: &str| {
        let table = key.rsplit_once('.').expect("a section");
        format!("[{}]\n{} = {value}\n", table.0, table.1)
    };
    let keys = [
        "control.mode",
        "polling.min_interval",
        "providers.dune.kind",
        "providers.dune.base_url",
        "providers.dune.requests_per_minute",
        "providers.dune.min_interval",
    ];
    for key in keys {
        for value in [
            format!("\"{CANARY_SECRET}\""),
            format!("[\"{CANARY_SECRET}\"]"),
            CANARY_SECRET.to_owned(),
        ] {
            let why = ConfigCase::with_file(&text(key, &value)).load_error();
            assert!(!why.contains(CANARY_SECRET), "{key} = {value}: {why}");
        }
    }
    let url = format!("\"https://user:{CANARY_SECRET}@api.dune.com\"");
    let why = ConfigCase::with_file(&text("providers.dune.base_url", &url)).load_error();
    assert!(!why.contains(CANARY_SECRET), "{why}");
}

#[test]
fn fault_56_a_secret_in_a_variable_is_not_repeated() {
    let names = [
        "JOBTRACK__PROVIDERS__DUNE__API_KEY",
        "JOBTRACK__PROVIDERS__DUNE__API_KEY__VALUE",
        "JOBTRACK__PROVIDERS__DUNE__KEY",
        "JOBTRACK__PROVIDERS__DUNE",
        "JOBTRACK__API_KEY",
    ];
    for name in names {
        let case = ConfigCase::with_file("[providers.dune]\nkind = \"dune\"\n")
            .with_env(name, CANARY_SECRET);
        let why = case.load_error();
        assert!(!why.contains(CANARY_SECRET), "{name}: {why}");
        assert!(why.contains(name), "the variable is named: {why}");
    }
}

#[test]
fn fault_56_a_secret_of_a_huawei_account_is_not_repeated() {
    let values = [
        format!("\"{CANARY_SECRET}\""),
        format!("{{ ak = \"{CANARY_SECRET}\", sk = \"{CANARY_SECRET}\" }}"),
        format!("{{ ak = {{ env = \"AK\" }}, sk = {{ value = \"{CANARY_SECRET}\" }} }}"),
        format!("{{ token = [\"{CANARY_SECRET}\"] }}"),
        format!("{{ user = \"u\", domain = \"d\", password = \"{CANARY_SECRET}\" }}"),
        format!("{{ security_token = \"{CANARY_SECRET}\" }}"),
        format!("[\"{CANARY_SECRET}\"]"),
    ];
    for value in values {
        let text = format!("[providers.lake]\nkind = \"dli\"\nauth = {value}\n");
        let why = ConfigCase::with_file(&text).load_error();
        assert!(!why.contains(CANARY_SECRET), "{value}: {why}");
        assert!(why.contains(":3: providers.lake.auth"), "{value}: {why}");
    }
}
