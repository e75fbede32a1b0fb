//! The architecture rules, checked on the source text and on `ARCHITECTURE.md`: which modules may use
//! which, what the pure modules must not use, where SQL, HTTP and `unsafe` are allowed, and which
//! transitions a job can make. A violation is reported with file and line.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use jobtrack::job::{
    CurrentState, LifecycleStep, LocalOutcome, Observation, ObservationEffect, ProviderTimes,
    RequestTimes, State, UtcTime, evaluate_observation, local_end_transition,
    registration_transition,
};

use crate::job_transitions::OBSERVED_STATES;

const PURE_MODULES: [&str; 3] = ["job", "policy", "tracker"];
/// Every module that does I/O may use these.
const SHARED_MODULES: [&str; 2] = ["config", "clock"];

/// A file under `src/`, without its comments.
struct SourceFile {
    path: PathBuf,
    module: String,
    text: String,
}

impl SourceFile {
    fn location(&self, offset: usize) -> String {
        let line = self.text[..offset].matches('\n').count() + 1;
        format!("{}:{line}", self.path.display())
    }

    /// The offsets at which `word` occurs as a whole word.
    fn word_offsets<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
        self.text.match_indices(word).map(|(at, _)| at).filter(move |at| {
            !self.text[..*at].ends_with(part_of_word)
                && !self.text[at + word.len()..].starts_with(part_of_word)
        })
    }

    /// The first segment after `root::` of each path, with each name in a group of braces.
    fn imported_names(&self, root: &str) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for at in self.word_offsets(root) {
            let Some(rest) = self.text[at + root.len()..].strip_prefix("::") else { continue };
            match rest.strip_prefix('{') {
                Some(group) => {
                    found.extend(use_group_names(group).into_iter().map(|name| (at, name)));
                }
                None => found.push((at, first_path_segment(rest))),
            }
        }
        found
    }
}

fn first_path_segment(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The first segment of each path in a `use` group; `text` begins after the opening brace.
fn use_group_names(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let (mut depth, mut start) = (1, 0);
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if (c == ',' && depth == 1) || depth == 0 {
            names.push(first_path_segment(text[start..at].trim()));
            start = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// The line without its comment. A `//` after a colon is part of a URL.
fn without_comment(line: &str) -> &str {
    let comment = line.match_indices("//").find(|(at, _)| !line[..*at].ends_with(':'));
    comment.map_or(line, |(at, _)| &line[..at])
}

fn source_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<SourceFile> {
    let mut files = Vec::new();
    rust_files(&source_root().join("src"), &mut files);
    files.sort();
    assert!(files.len() > 40, "too few source files found");
    let sources = files.into_iter().map(|file| {
        let text = fs::read_to_string(&file).expect("a text");
        let text: Vec<_> = text.lines().map(without_comment).collect();
        let path = file.strip_prefix(source_root()).expect("below the root").to_owned();
        let module = path.components().nth(1).expect("below src").as_os_str().to_string_lossy();
        let module = module.trim_end_matches(".rs").to_owned();
        SourceFile { path, module, text: text.join("\n") }
    });
    sources.filter(|source| source.module != "lib").collect()
}

fn architecture_document() -> String {
    fs::read_to_string(source_root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md")
}

/// The table of modules in `ARCHITECTURE.md`: which modules each module may use directly.
fn dependency_table() -> BTreeMap<String, BTreeSet<String>> {
    let names =
        |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let text = architecture_document();
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let table: BTreeMap<_, _> = rows
        .map(|row| {
            let cells: Vec<_> = row.split('|').collect();
            (names(cells[1]).remove(0), names(cells[3]).into_iter().collect())
        })
        .collect();
    assert!(table.len() > 10, "too few rows found");
    table
}

/// All modules that `module` may use: those in its row, those in their rows, and the shared modules.
fn allowed_dependencies(
    table: &BTreeMap<String, BTreeSet<String>>,
    module: &str,
) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    let mut waiting: Vec<&str> = vec![module];
    if !PURE_MODULES.contains(&module) && !SHARED_MODULES.contains(&module) {
        waiting.extend(SHARED_MODULES);
        known.extend(SHARED_MODULES.map(str::to_owned));
    }
    while let Some(next) = waiting.pop() {
        for used in table.get(next).into_iter().flatten() {
            if known.insert(used.clone()) {
                waiting.push(used);
            }
        }
    }
    known
}

#[test]
fn modules_use_only_allowed_modules() {
    let table = dependency_table();
    let mut broken = Vec::new();
    for source in sources() {
        let module = &source.module;
        if !table.contains_key(module) {
            broken.push(format!(
                "{}: module {module} has no row in the table",
                source.path.display()
            ));
            continue;
        }
        let allowed = allowed_dependencies(&table, module);
        let own_crate = if module == "bin" { "jobtrack" } else { "crate" };
        for (at, used) in source.imported_names(own_crate) {
            if used != *module && !allowed.contains(&used) {
                broken.push(format!("{}: {module} must not use {used}", source.location(at)));
            }
        }
    }
    let modules: BTreeSet<_> = sources().into_iter().map(|source| source.module).collect();
    for gone in table.keys().filter(|module| !modules.contains(*module)) {
        broken.push(format!("the table names a module {gone}, which does not exist"));
    }
    assert!(
        broken.is_empty(),
        "violations of the table in ARCHITECTURE.md:\n{}",
        broken.join("\n")
    );
}

#[test]
fn the_dependency_table_respects_the_layers() {
    let table = dependency_table();
    for module in table.keys() {
        let used = allowed_dependencies(&table, module);
        assert!(!used.contains(module), "{module} uses itself");
        assert!(module == "bin" || !used.contains("daemon"), "{module} must not use daemon");
    }
    for module in PURE_MODULES {
        let used = allowed_dependencies(&table, module);
        assert!(
            used.iter().all(|used| PURE_MODULES.contains(&used.as_str())),
            "{module} uses {used:?}"
        );
    }
    for forbidden in ["store", "scheduler", "provider", "tracker"] {
        assert!(
            !allowed_dependencies(&table, "cli").contains(forbidden),
            "cli must use the socket only"
        );
    }
}

#[test]
fn no_super_path_leaves_its_module() {
    let table = dependency_table();
    let mut broken = Vec::new();
    for source in sources() {
        let depth = source.path.components().count();
        let is_front = depth == 2 || (depth == 3 && source.path.ends_with("mod.rs"));
        for (at, name) in source.imported_names("super") {
            let climbs = (depth <= 3 && name == "super") || (is_front && table.contains_key(&name));
            if climbs {
                broken.push(format!("{}: super::{name}; write crate::…", source.location(at)));
            }
        }
    }
    assert!(broken.is_empty(), "imports that bypass the table:\n{}", broken.join("\n"));
}

/// The files of `src/tracker/`, each of which may use only those before it; `mod` is the last.
const TRACKER_ORDER: [&str; 44] = [
    "pause_durations",
    "failure_streak",
    "transient_failures",
    "breaker",
    "message",
    "outage",
    "price_in_force",
    "account",
    "connection_check_gate",
    "job_index",
    "job_heap",
    "due_queue",
    "list_batch",
    "job_policy",
    "age",
    "metadata",
    "pending_change",
    "phase",
    "job_effects",
    "rare_state",
    "shared_values",
    "compact_price",
    "job",
    "job_table",
    "job_commit",
    "valuation",
    "job_answer",
    "provider_queue",
    "readiness",
    "spare_polls",
    "provider_answer",
    "registry",
    "replan",
    "earlier_process",
    "recorded_time",
    "on_demand",
    "provider_choice",
    "candidates",
    "select",
    "configure",
    "commits",
    "answers",
    "forecast",
    "report",
];

#[test]
fn each_tracker_file_uses_only_the_files_before_it() {
    let mut broken = Vec::new();
    let mut found = BTreeSet::new();
    for source in sources().iter().filter(|source| source.module == "tracker") {
        let file = source.path.file_stem().expect("a file name").to_string_lossy().into_owned();
        if file == "mod" {
            continue;
        }
        let Some(position) = TRACKER_ORDER.iter().position(|name| *name == file) else {
            broken.push(format!("{file} is missing in the order"));
            continue;
        };
        // The unit tests of a file import the file itself.
        let tests_start = source.text.find("#[cfg(test)]").unwrap_or(source.text.len());
        let imports =
            source.imported_names("super").into_iter().filter(|(at, _)| *at < tests_start);
        for (at, used) in imports {
            if !TRACKER_ORDER[..position].contains(&used.as_str()) {
                broken.push(format!("{}: {file} must not use {used}", source.location(at)));
            }
        }
        for (at, used) in source.imported_names("crate") {
            if used == "tracker" {
                broken.push(format!("{}: write super::…", source.location(at)));
            }
        }
        found.insert(file);
    }
    for gone in TRACKER_ORDER.iter().filter(|name| !found.contains(**name)) {
        broken.push(format!("the order names {gone}, which does not exist"));
    }
    assert!(broken.is_empty(), "violations of the order in src/tracker:\n{}", broken.join("\n"));
}

/// For each directory, which of its files and subdirectories use which others by `super::`.
fn sibling_uses() -> BTreeMap<PathBuf, BTreeMap<String, BTreeSet<String>>> {
    let mut graphs: BTreeMap<PathBuf, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for source in sources() {
        // A mod.rs stands for its directory.
        let node = source.path.with_extension("");
        let node = if node.ends_with("mod") { node.parent().expect("a directory") } else { &node };
        let name = node.file_name().expect("a name").to_string_lossy().into_owned();
        let tests_start = source.text.find("#[cfg(test)]").unwrap_or(source.text.len());
        let uses = source.imported_names("super").into_iter();
        let uses = uses.filter(|(at, used)| *at < tests_start && *used != name);
        let directory = node.parent().expect("a directory").to_owned();
        graphs
            .entry(directory)
            .or_default()
            .entry(name.clone())
            .or_default()
            .extend(uses.map(|(_, used)| used));
    }
    graphs
}

#[test]
fn no_files_of_a_directory_use_each_other_in_a_circle() {
    for (directory, mut uses) in sibling_uses() {
        // Files that use no other are removed, again and again; what remains is in or above a circle.
        loop {
            let before = uses.len();
            let names: BTreeSet<_> = uses.keys().cloned().collect();
            uses.retain(|_, used| used.iter().any(|used| names.contains(used)));
            if uses.len() == before {
                break;
            }
        }
        assert!(uses.is_empty(), "a circle in {}: {uses:#?}", directory.display());
    }
}

#[test]
fn pure_modules_use_no_clock_randomness_or_io() {
    let words = [
        "tokio",
        "sqlx",
        "reqwest",
        "fastrand",
        "async",
        "await",
        "SystemTime",
        "Instant",
        "Zoned",
    ];
    let modules = ["fs", "net", "env", "process", "thread", "io", "os"];
    let mut broken = Vec::new();
    for source in sources().iter().filter(|source| PURE_MODULES.contains(&source.module.as_str())) {
        for word in words {
            broken.extend(
                source.word_offsets(word).map(|at| format!("{}: {word}", source.location(at))),
            );
        }
        for (at, module) in source.imported_names("std") {
            if modules.contains(&module.as_str()) {
                broken.push(format!("{}: std::{module}", source.location(at)));
            }
        }
    }
    assert!(broken.is_empty(), "the pure modules must not use:\n{}", broken.join("\n"));
}

#[test]
fn sql_http_and_unsafe_stay_in_their_modules() {
    let rules: [(&[&str], &[&str]); 3] = [
        (
            &["sqlx", "libsqlite3_sys", "SqliteConnection", "SqlitePool", "SqliteRow"],
            &["src/store/sqlite/"],
        ),
        (&["reqwest"], &["src/provider/", "src/api/"]),
        (&["unsafe"], &["src/store/sqlite/"]),
    ];
    let mut broken = Vec::new();
    for source in sources() {
        let path = source.path.to_string_lossy();
        for (words, places) in rules {
            if places.iter().any(|place| path.starts_with(place)) {
                continue;
            }
            for word in words {
                let found =
                    source.word_offsets(word).map(|at| format!("{}: {word}", source.location(at)));
                broken.extend(found.map(|what| format!("{what} belongs in {places:?}")));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn no_source_file_exceeds_the_line_limit() {
    const MAX_LINES: usize = 400;
    for source in sources() {
        let lines = source.text.lines().count();
        assert!(lines <= MAX_LINES, "{}: {lines} lines", source.path.display());
    }
}

/// Every transition that the code can make, found by trying all states, steps, answers and local ends.
fn transitions_in_code() -> BTreeSet<(String, String)> {
    let now = UtcTime::from_millis(0);
    let known = ProviderTimes {
        submitted_at: Some(now),
        started_at: Some(now),
        ..ProviderTimes::default()
    };
    let started = ProviderTimes { submitted_at: None, ..known };
    let mut rows = vec![registration_transition(now)];
    for state in State::ALL {
        // A job in the state `registered` has no further step.
        let steps: &[LifecycleStep] = match state {
            State::Registered => &[LifecycleStep::Registered],
            _ => &[LifecycleStep::Registered, LifecycleStep::Pending, LifecycleStep::Running],
        };
        for &furthest_step in steps {
            let current_state = CurrentState::from_store(state, None, furthest_step, now, None);
            for observed in OBSERVED_STATES {
                for times in [ProviderTimes::default(), known, started] {
                    let observation = Observation {
                        similarity_keys: jobtrack::job::SimilarityKeys::Unknown,
                        reported_duration: None,
                        source: None,
                        credits: None,
                        list_time: None,
                        state: observed,
                        provider_state: "a state".into(),
                        times,
                        message: None,
                        detail: serde_json::Map::default(),
                    };
                    let request_times = RequestTimes { sent_at: now, received_at: now };
                    if let ObservationEffect::Transitions(transitions) =
                        evaluate_observation(&current_state, &observation, request_times)
                    {
                        rows.extend(transitions);
                    }
                }
            }
            for outcome in [LocalOutcome::Lost, LocalOutcome::Untracked] {
                rows.extend(local_end_transition(&current_state, outcome, now, String::new()));
            }
        }
    }
    let name = |state: State| state.as_str().to_owned();
    rows.iter().map(|row| (row.from.map_or("[*]".into(), name), name(row.to))).collect()
}

/// The transitions in the diagram. A transition from a group starts at each state of the group.
fn transitions_in_diagram() -> BTreeSet<(String, String)> {
    let text = architecture_document();
    let diagram = text.split("```mermaid\nstateDiagram-v2\n").nth(1).expect("a state diagram");
    let diagram = diagram.split("```").next().expect("its end");
    let mut groups: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut arrows = Vec::new();
    let mut group = None;
    for line in diagram.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(name) = line.strip_prefix("state ") {
            group = name.strip_suffix(" {");
        } else if line == "}" {
            group = None;
        } else {
            let arrow = line.split(" : ").next().expect("an arrow");
            let (from, to) = arrow.split_once(" --> ").expect("an arrow");
            arrows.push((from, to));
            if let Some(group) = group {
                groups.entry(group).or_default().extend([from, to]);
            }
        }
    }
    let mut edges = BTreeSet::new();
    for (from, to) in arrows {
        let members = groups.get(from).cloned().unwrap_or(BTreeSet::from([from]));
        edges.extend(members.into_iter().map(|from| (from.to_owned(), to.to_owned())));
    }
    edges
}

#[test]
fn the_diagram_shows_exactly_the_possible_transitions() {
    let mut expected = transitions_in_code();
    for state in State::ALL.into_iter().filter(|state| state.is_terminal()) {
        assert!(
            !expected.iter().any(|(from, _)| from == state.as_str()),
            "{state} is terminal but has a transition"
        );
        expected.insert((state.as_str().to_owned(), "[*]".to_owned()));
    }
    let drawn = transitions_in_diagram();
    let missing: Vec<_> = expected.difference(&drawn).collect();
    let invented: Vec<_> = drawn.difference(&expected).collect();
    assert!(missing.is_empty(), "missing in the diagram of ARCHITECTURE.md: {missing:?}");
    assert!(invented.is_empty(), "in the diagram, but impossible in the code: {invented:?}");
    for state in State::ALL {
        assert!(drawn.iter().any(|(_, to)| to == state.as_str()), "no transition leads to {state}");
    }
}
