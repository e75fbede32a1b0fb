//! A secret in the wrong place is refused, and never repeated.

use super::Case;

const SECRET: &str = "Canary-6b1f93e0";

#[test]
fn fault_56_a_secret_written_into_the_config_is_not_repeated() {
    let values = [
        ("text", format!("\"{SECRET}\"")),
        ("bare", SECRET.to_owned()),
        ("unfinished text", format!("\"{SECRET}")),
        ("a list", format!("[\"{SECRET}\"]")),
        ("under a wrong key", format!("{{ key = \"{SECRET}\" }}")),
        ("as a key", format!("{{ \"{SECRET}\" = \"env\" }}")),
        ("beside a reference", format!("{{ env = \"KEY\", value = \"{SECRET}\" }}")),
        ("nested", format!("{{ file = {{ path = \"{SECRET}\" }} }}")),
        ("deeply nested", format!("{{ a = {{ b = [{{ c = \"{SECRET}\" }}] }} }}")),
        ("in a list of a reference", format!("{{ env = [\"{SECRET}\"] }}")),
        ("a path as credential", format!("{{ credential = \"/run/{SECRET}\" }}")),
    ];
    for (name, value) in values {
        let text = format!("[providers.dune]\nkind = \"dune\"\napi_key = {value}\n");
        let why = Case::file(&text).refused();
        assert!(!why.contains(SECRET), "{name}: {why}");
        assert!(why.contains(":3: "), "{name}: the line is told: {why}");
    }
}

#[test]
fn fault_56_other_types_in_the_place_of_a_reference_are_not_repeated() {
    let canaries =
        ["74219355", "-74219355", "7421.9355", "true", "2026-11-22T10:00:00Z", "[]", "{}"];
    for value in canaries {
        let text = format!("[providers.dune]\nkind = \"dune\"\napi_key = {value}\n");
        let case = Case::file(&text);
        let file = case.file.as_ref().expect("a file").display().to_string();
        let expected = format!(
            "{file}:3: providers.dune.api_key must be {{ credential = \"…\" }}, {{ file = \"…\" }} \
             or {{ env = \"…\" }}, never the text itself"
        );
        assert_eq!(case.refused(), expected, "{value}");
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
        for value in [format!("\"{SECRET}\""), format!("[\"{SECRET}\"]"), SECRET.to_owned()] {
            let why = Case::file(&text(key, &value)).refused();
            assert!(!why.contains(SECRET), "{key} = {value}: {why}");
        }
    }
    let url = format!("\"https://user:{SECRET}@api.dune.com\"");
    let why = Case::file(&text("providers.dune.base_url", &url)).refused();
    assert!(!why.contains(SECRET), "{why}");
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
        let case = Case::file("[providers.dune]\nkind = \"dune\"\n").env(name, SECRET);
        let why = case.refused();
        assert!(!why.contains(SECRET), "{name}: {why}");
        assert!(why.contains(name), "the variable is named: {why}");
    }
}

#[test]
fn fault_56_a_secret_of_a_huawei_account_is_not_repeated() {
    let values = [
        format!("\"{SECRET}\""),
        format!("{{ ak = \"{SECRET}\", sk = \"{SECRET}\" }}"),
        format!("{{ ak = {{ env = \"AK\" }}, sk = {{ value = \"{SECRET}\" }} }}"),
        format!("{{ token = [\"{SECRET}\"] }}"),
        format!("{{ user = \"u\", domain = \"d\", password = \"{SECRET}\" }}"),
        format!("{{ security_token = \"{SECRET}\" }}"),
        format!("[\"{SECRET}\"]"),
    ];
    for value in values {
        let text = format!("[providers.lake]\nkind = \"dli\"\nauth = {value}\n");
        let why = Case::file(&text).refused();
        assert!(!why.contains(SECRET), "{value}: {why}");
        assert!(why.contains(":3: providers.lake.auth"), "{value}: {why}");
    }
}
