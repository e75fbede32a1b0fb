use proptest::prelude::*;
use serde_json::json;

use super::*;

const TABLE: FieldTable = FieldTable {
    id: None,
    deciding: &["is_success", "status"],
    kept: &["message", "owner", "size"],
};

/// Pieces of texts. Put between quotes as they are, most of them make an answer invalid.
const PIECES: [&[u8]; 18] = [
    b"text",
    b"\"",
    br#"","status":"FINISHED""#,
    br#"","status":"FINISHED","owner":""#,
    br#"{"a":"b"}"#,
    br#"{"status":"FINISHED","is_success":false}"#,
    br#"","x":""#,
    br#"", "is_success":"false", ""#,
    br"\",
    br"\ud83d",
    br"\x41",
    br"\u12",
    b"\n",
    b"\xff",
    b"\xed\xa0\x80",
    b":",
    b", ",
    b"}",
];

/// Pieces that no reading repairs in a deciding field.
const FATAL_PIECES: [&[u8]; 6] = [b"\"", br"\ud83d", br"\x41", b"\n", b"\xff", b"\xed\xa0\x80"];

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(&PIECES[..]);
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

/// An object with these members in an order that `order` chooses.
fn object(mut members: Vec<Vec<u8>>, order: u64) -> Vec<u8> {
    for (index, swap) in (1..members.len()).rev().zip([2, 3, 5, 7, 11]) {
        let other = usize::try_from(order / swap).expect("a number") % (index + 1);
        members.swap(index, other);
    }
    [b"{", members.join(&b","[..]).as_slice(), b"}"].concat()
}

fn text_member(key: &str, content: &[u8]) -> Vec<u8> {
    [format!("\"{key}\":\"").as_bytes(), content, b"\""].concat()
}

fn decisions(body: &[u8]) -> Result<(Option<bool>, String), ProviderError> {
    let fields = read_object(body, &TABLE)?;
    Ok((fields.deciding_flag("is_success")?, fields.deciding_text("status", 64)?))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn fault_41_damaged_kept_texts_never_change_what_is_decided(
        message in pieces(), owner in pieces(), order in any::<u64>(),
    ) {
        let members = vec![
            b"\"is_success\":true".to_vec(),
            b"\"status\":\"RUNNING\"".to_vec(),
            text_member("message", &message),
            text_member("owner", &owner),
            b"\"size\":5".to_vec(),
        ];
        let body = object(members, order);
        if let Ok(decided) = decisions(&body) {
            prop_assert_eq!(decided, (Some(true), "RUNNING".to_owned()), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn fault_41_texts_without_unescaped_quotes_are_always_repaired(
        message in pieces(), order in any::<u64>(),
    ) {
        let mut message: Vec<u8> = message.into_iter().filter(|byte| *byte != b'"').collect();
        while message.ends_with(b"\\") {
            message.pop();
        }
        let members = vec![
            b"\"is_success\":true".to_vec(),
            b"\"status\":\"RUNNING\"".to_vec(),
            text_member("message", &message),
            b"\"size\":1e999".to_vec(),
        ];
        let body = object(members, order);
        let decided = decisions(&body).expect("an answer");
        prop_assert_eq!(decided, (Some(true), "RUNNING".to_owned()));
    }

    #[test]
    fn fault_41_a_damaged_deciding_field_is_refused(
        damage in prop::sample::select(&FATAL_PIECES[..]), at in 0..8_usize, message in pieces(),
        damages_flag in any::<bool>(), order in any::<u64>(),
    ) {
        let damaged = |value: &str| {
            let (before, after) = value.as_bytes().split_at(at.min(value.len()));
            [before, damage, after].concat()
        };
        let (flag, status) = if damages_flag {
            (damaged("false"), b"FAILED".to_vec())
        } else {
            (b"true".to_vec(), damaged("FAILED"))
        };
        let members = vec![
            text_member("is_success", &flag),
            text_member("status", &status),
            text_member("message", &message),
        ];
        let body = object(members, order);
        let decided = decisions(&body);
        prop_assert!(decided.is_err(), "{} gives {decided:?}", body.escape_ascii());
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decisions(&body);
        let _ = decisions(&[b"{\"status\":", body.as_slice(), b"}"].concat());
        let _ = read_kept(&body);
    }
}

#[test]
fn fault_41_a_repaired_text_keeps_what_is_readable() {
    let cases: [(&[u8], Value); 12] = [
        (br#""cut \ud83d""#, json!("cut \u{fffd}")),
        (br#""say "x" now""#, json!("say \"x\" now")),
        (b"\"caf\xe9\"", json!("caf\u{fffd}")),
        (br#"{"type":"T","message":"say "x" now"}"#, json!({"type":"T","message":"say \"x\" now"})),
        (br#"{"message":"{"code":"X"}","line":5}"#, json!({"message":"{\"code\":\"X\"}","line":5})),
        (br#"[{"message":"a "b" c","duration":1}]"#, json!([{"message":"a \"b\" c","duration":1}])),
        // Where the first of several items ends is not certain.
        (br#"[{"message":"a "b" c"},{"duration":1}]"#, json!(null)),
        (br#"[1e999,NaN,"x",2]"#, json!([null, null, "x", 2])),
        (br#"{"a":,"b":1}"#, json!({"a":null,"b":1})),
        (b"007", json!(null)),
        (b"", json!(null)),
        (b"\"", json!(null)),
    ];
    for (text, expected) in cases {
        assert_eq!(read_kept(text), expected, "{}", text.escape_ascii());
    }
}

#[test]
fn fault_41_the_most_plausible_split_is_kept() {
    let cases = [
        (
            r#"{"message":"{"code":"DLI.0999"}","owner":"me","status":"X"}"#,
            r#"{"code":"DLI.0999"}"#,
        ),
        (r#"{"message":"{"a":"b","c":"d"}","owner":"me","status":"X"}"#, r#"{"a":"b","c":"d"}"#),
        (
            r#"{"message":"see {"a":"b","c":"d"} there","size":1,"status":"X"}"#,
            r#"see {"a":"b","c":"d"} there"#,
        ),
        (r#"{"message":"no "a", "b"","region":"eu","status":"X"}"#, r#"no "a", "b""#),
        (r#"{"status":"X","message":"say "x""}"#, r#"say "x""#),
        (r#"{"message":"no "a":"b", "c":"d"","status":"X"}"#, r#"no "a":"b", "c":"d""#),
        (r#"{"message":"no end" at line 3","status":"X","owner":"me"}"#, r#"no end" at line 3"#),
        (r#"{"message":"no end " at line 3","size":1,"status":"X"}"#, r#"no end " at line 3"#),
        (r#"{"message":"unexpected "","status":"X","size":1}"#, r#"unexpected ""#),
    ];
    for (body, message) in cases {
        let fields = read_object(body.as_bytes(), &TABLE).expect(body);
        assert_eq!(fields.kept("message"), Some(json!(message)), "{body}");
        assert_eq!(fields.deciding_text("status", 64).expect(body), "X");
    }
}

#[test]
fn a_broken_answer_with_very_many_commas_is_read_or_refused_in_time() {
    let body = |count: usize| {
        let text = r#"","k":"v"#.repeat(count);
        format!(r#"{{"message":"a "b" c{text}","status":"X"}}"#)
    };
    assert!(decisions(body(1000).as_bytes()).is_ok());
    assert!(decisions(body(100_000).as_bytes()).is_err());
}

#[test]
fn fault_41_a_deciding_field_that_may_be_within_a_text_or_an_inner_object_is_refused() {
    let bodies = [
        // No real status: the text quotes one.
        r#"{"message":"row "a","status":"FINISHED","b":"c" is bad"}"#,
        r#"{"message":"{"a":"b","status":"FINISHED","owner":"c"}"}"#,
        r#"{"message":"5" disk, {"a":"b","status":"FINISHED","owner":"d"} x"}"#,
        r#"{"is_success":true,"message":"cut: {"a":"b","status":"FINISHED","owner":"d"}"#,
        r#"{"message":"empty {"a":"","status":"FINISHED","owner":""} x"}"#,
        // The text is cut off within what it quotes.
        r#"{"is_success":true,"message":"row "a","status":"FINISHED","b":"c"}"#,
        r#"{"is_success":true,"message":"row "a","status":"FINISHED","owner":"c"}"#,
        r#"{"is_success":true,"message":"row " a","status":"FINISHED","b":" c"}"#,
        r#"{"is_success":true,"message":"row "","status":"FINISHED","b":"c"}"#,
        r#"{"is_success":true,"message":"5" row: "a","status":"FINISHED","b":"c"}"#,
        r#"{"is_success":true,"message":"a":"b","status":"FINISHED","size":1,"b":"c"}"#,
        r#"{"is_success":true,"message":"row "a","size":1,"status":"FINISHED"}"#,
        // Within an object that is damaged itself.
        r#"{"owner":{"a":{"b":1},"status":"FINISHED","c":"x"y"},"size":1}"#,
        r#"{"owner":{"a":{"b":"}"},"status":"FINISHED","c":"x"y"},"size":1}"#,
        r#"{"owner":[{"b":"]"}],"message":{"a":[1],"status":"FINISHED","c":"x"y"},"size":1}"#,
    ];
    for body in bodies {
        let decided = decisions(body.as_bytes());
        assert!(decided.is_err(), "{body} gives {decided:?}");
    }
}

#[test]
fn fault_41_a_key_within_an_inner_object_decides_nothing() {
    let inner = r#"{"a":{"b":1},"is_success":false,"c":"x"}"#;
    for inner in [inner.to_owned(), format!("[{inner}]"), inner.replace('1', "\"}\"")] {
        let body = format!(r#"{{"status":"RUNNING","owner":{inner},"note":"a"b","z":1}}"#);
        let decided = decisions(body.as_bytes()).expect(&body);
        assert_eq!(decided, (None, "RUNNING".to_owned()), "{body}");
    }
}

/// An object nested so deeply that reading it recursively would exhaust the stack.
fn deep_object() -> String {
    let depth = 20_000;
    format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth))
}

#[test]
fn fault_41_deep_nesting_behind_an_unescaped_quote_does_not_exhaust_the_stack() {
    let deep = deep_object();
    let deep_arrays = format!(r#"{}{{"m":"a"b"}}{}"#, "[".repeat(20_000), "]".repeat(20_000));
    let values = [
        deep.clone(),
        deep_arrays,
        format!(r#"{{"m":"a"b","n":{deep}}}"#),
        format!(r#"[{{"m":"a"b","n":{deep}}}]"#),
        format!(r#""a"b",{deep}"#),
        r#"{"m":"a"b","n":"#.repeat(20_000) + "1" + &"}".repeat(20_000),
    ];
    for value in values {
        read_kept(value.as_bytes());
        let body = format!(r#"{{"status":"X","message":"a"b","owner":{value}}}"#);
        read_kept(body.as_bytes());
        read_error_body(body.as_bytes(), &TABLE);
        if let Ok(fields) = read_object(body.as_bytes(), &TABLE) {
            fields.kept("owner");
        }
    }
}

#[test]
fn a_broken_answer_with_very_much_white_space_is_read_in_time() {
    let spaces = " ".repeat(900_000);
    let sites = r#""x","k":"#.repeat(4000);
    let body = format!(r#"{{"message":"a "b" c","k":{sites}{spaces}"x"{spaces},"status":"X"}}"#);
    let decided = decisions(body.as_bytes()).expect("an answer");
    assert_eq!(decided, (None, "X".to_owned()));
}
