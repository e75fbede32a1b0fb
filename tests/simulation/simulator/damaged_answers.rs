//! Damaged answers of the services: those of `tests/corpus/answers`, and damages of a normal answer.
//!
//! A damaged answer must be read with the true state or be refused. So an answer of the corpus that must be read
//! is sent only while the job is in its state.

use std::path::Path;

use super::lives::expected_state;
use crate::fake_server::ServiceKind;

/// The directories of the corpus, and the id of the job in their answers.
const CORPUS: [(ServiceKind, bool, &str, &str); 4] = [
    (ServiceKind::Dune, false, "dune", "01GBM4W2N0NMCGPZYW8AYK4YF1"),
    (ServiceKind::Dli, false, "dli", "208b08d4-0dc2-4dd7-8879-ddd4c020d7aa"),
    (ServiceKind::Dli, true, "dli_list", "208b08d4-0dc2-4dd7-8879-ddd4c020d7aa"),
    (ServiceKind::DataArts, false, "dataarts", ""),
];

/// Damaged texts, as they are between the quotes of a JSON text. Some contain the state of another job.
const TEXTS: [&[u8]; 14] = [
    br"\ud83d",
    br"\ude00\ud83d",
    br"\u12",
    br"\q",
    br"\x41",
    br"\",
    b"a\nb",
    b"\0",
    b"caf\xe9",
    b"\xf0\x9f\x98",
    br#"said "no", then"#,
    br#"a "quoted" }"#,
    br#"x"y", "status":"FAILED", "state":"QUERY_STATE_FAILED" z"#,
    br#"{"status":"FINISHED","state":"QUERY_STATE_COMPLETED"}"#,
];

/// The answers of the corpus.
#[derive(Debug)]
pub struct DamagedAnswers(Vec<DamagedAnswer>);

#[derive(Debug)]
struct DamagedAnswer {
    kind: ServiceKind,
    is_list: bool,
    /// The id of the job in the answer.
    id: &'static str,
    /// The state that is read; none if the answer must be refused.
    state: Option<String>,
    body: Vec<u8>,
}

impl DamagedAnswers {
    pub fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/answers");
        let mut answers = Vec::new();
        for (kind, is_list, directory, id) in CORPUS {
            for outcome in ["read", "refused"] {
                let files = std::fs::read_dir(root.join(directory).join(outcome));
                let mut paths: Vec<_> =
                    files.expect("a directory").map(|file| file.expect("a file").path()).collect();
                paths.sort();
                for path in paths {
                    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
                    let state = name.split('.').next().map(str::to_owned);
                    let body = std::fs::read(&path).expect("an answer");
                    let state = state.filter(|_| outcome == "read");
                    answers.push(DamagedAnswer { kind, is_list, id, state, body });
                }
            }
        }
        Self(answers)
    }

    /// An answer about this job, which is in `state`.
    pub fn answer(
        &self,
        kind: ServiceKind,
        is_list: bool,
        job: &str,
        state: &str,
        how: u32,
    ) -> Option<Vec<u8>> {
        // The times in these answers are those of other jobs, and the next poll follows from them.
        let has_ended = expected_state(kind, state).is_terminal();
        let refused = how.is_multiple_of(2);
        let fitting: Vec<_> = self
            .0
            .iter()
            .filter(|answer| answer.kind == kind && answer.is_list == is_list)
            .filter(|answer| match answer.state.as_deref() {
                None => refused,
                Some(expected) => !refused && has_ended && expected == state,
            })
            .collect();
        let answer = fitting.get(how as usize / 2 % fitting.len().max(1))?;
        Some(if answer.id.is_empty() {
            answer.body.clone()
        } else {
            let body = replace(&answer.body, answer.id.as_bytes(), job.as_bytes());
            let (old, new) = (answer.id.to_ascii_uppercase(), job.to_ascii_uppercase());
            let body = replace(&body, old.as_bytes(), new.as_bytes());
            let (old, new) = (answer.id.replace('-', ""), job.replace('-', ""));
            replace(&body, old.as_bytes(), new.as_bytes())
        })
    }
}

/// Damages that leave the state readable, or make the whole body unreadable.
pub fn damage(kind: ServiceKind, body: &[u8], how: u32) -> Vec<u8> {
    let text = String::from_utf8_lossy(body).into_owned();
    let choice = how as usize / 16;
    let damaged = match how % 16 {
        0 => text[..text.floor_char_boundary(text.len() * (choice % 97) / 97)].to_owned(),
        1 => text.replacen("\":\"", "\":\"\\ud800", 1),
        2 => text.replacen('}', ",\"extra\":\"\\q\"}", 1),
        3 => format!("{text}{text}"),
        4 => text.replace('"', "'"),
        5 => format!("\u{feff}{text}"),
        6 => text.replacen('{', "{\"extra\":1e999,", 1),
        7 => format!("[{text}]"),
        _ => return with_damaged_text(kind, body, choice),
    };
    damaged.into_bytes()
}

/// Adds a field that is kept in the history, with a damaged text, to one of the objects in `body`.
fn with_damaged_text(kind: ServiceKind, body: &[u8], choice: usize) -> Vec<u8> {
    let (before, after): (&[u8], &[u8]) = match kind {
        ServiceKind::Dune => (br#""error":{"message":""#, br#""},"#),
        ServiceKind::Dli | ServiceKind::DataArts => (br#""message":""#, br#"","#),
    };
    let text = TEXTS[choice % TEXTS.len()];
    let begins: Vec<usize> = (0..body.len()).filter(|at| body[*at] == b'{').collect();
    let Some(begin) = begins.get(choice / TEXTS.len() % begins.len().max(1)) else {
        return text.to_vec();
    };
    let (head, tail) = body.split_at(begin + 1);
    [head, before, text, after, tail].concat()
}

fn replace(text: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.windows(old.len()).position(|window| window == old) {
        replaced.extend_from_slice(&rest[..at]);
        replaced.extend_from_slice(new);
        rest = &rest[at + old.len()..];
    }
    replaced.extend_from_slice(rest);
    replaced
}
