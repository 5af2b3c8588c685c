//! The rules of the repository that no compiler checks: headers, lengths of files, pages for error codes, who may know whom.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use wasmill::job::Code;
use wasmill_tests::guests;

const FILE_LINES_MAX: usize = 500;

/// Crates that are named in few folders only, those that hide them from the others.
const HEAVY: [(&str, &[&str]); 10] = [
    ("wasmtime", &["host/src/plugin"]),
    ("rocksdb", &["host/src/state"]),
    ("bincode", &["host/src/checkpoint/encoding.rs"]),
    ("rdkafka", &["host/src/connector"]),
    ("axum", &["host/src/web"]),
    ("aide", &["host/src/web"]),
    ("reqwest", &["host/src/client", "host/src/schema_registry"]),
    ("apache_avro", &["host/src/codec/avro"]),
    ("prost_reflect", &["host/src/codec/protobuf"]),
    ("protox", &["host/src/codec/protobuf"]),
];

/// Where errors get their codes, other than in the job's.
const ERRORS: [&str; 19] = [
    "host/src/codec/framed/schemas.rs",
    "host/src/control/refused.rs",
    "host/src/connector/api.rs",
    "host/src/connector/kafka/error.rs",
    "host/src/plugin/error.rs",
    "host/src/checkpoint/error.rs",
    "host/src/dataflow/error.rs",
    "host/src/control/error.rs",
    "host/src/state/error.rs",
    "host/src/service/error.rs",
    "host/src/registry/error.rs",
    "host/src/audit/error.rs",
    "host/src/client/error.rs",
    "host/src/web/error.rs",
    "host/src/web/problem.rs",
    "host/src/web/auth.rs",
    "host/src/web/limits.rs",
    "host/src/web/idempotency.rs",
    "host/src/web/conditional.rs",
];

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Rust files below a folder of the repository, without what was built.
fn sources(folder: &str) -> Vec<PathBuf> {
    fn visit(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in folder.read_dir().unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                visit(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                into.push(path);
            }
        }
    }
    let mut found = Vec::new();
    visit(&guests::root().join(folder), &mut found);
    found.sort();
    found
}

fn local(path: &Path) -> String {
    path.strip_prefix(guests::root()).unwrap().display().to_string()
}

fn all_sources() -> impl Iterator<Item = PathBuf> {
    ["host", "sdk", "tests", "plugins"].into_iter().flat_map(sources)
}

#[test]
fn every_file_says_what_it_is_and_is_not_too_long() {
    for path in all_sources() {
        let text = read(&path);
        assert!(text.starts_with("//!"), "{} does not begin with `//!`", local(&path));
        let lines = text.lines().count();
        assert!(lines <= FILE_LINES_MAX, "{} has {lines} lines: split it", local(&path));
    }
}

/// Codes in a file's text: a letter and four digits, in quotes or brackets.
fn codes(text: &str) -> BTreeSet<String> {
    let is_code = |word: &&str| {
        word.len() == 5
            && word.starts_with(|c: char| c.is_ascii_uppercase())
            && word[1..].bytes().all(|b| b.is_ascii_digit())
    };
    text.split(['[', ']', '"']).filter(is_code).map(str::to_owned).collect()
}

#[test]
fn every_error_has_its_page_and_every_page_its_error() {
    let mut given: BTreeSet<String> = Code::ALL.iter().map(|code| code.as_str().to_owned()).collect();
    for file in ERRORS {
        let found = codes(&read(&guests::root().join(file)));
        assert!(!found.is_empty(), "{file} has no codes");
        given.extend(found);
    }
    let mut pages = BTreeSet::new();
    for entry in guests::root().join("docs/errors").read_dir().unwrap() {
        let path = entry.unwrap().path();
        let code = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(read(&path).starts_with(&format!("# {code}: ")), "{} does not begin with its code", local(&path));
        assert!(read(&path).contains("**What to do.**"), "{} does not say what to do", local(&path));
        pages.insert(code);
    }
    let without_page: Vec<_> = given.difference(&pages).collect();
    let without_error: Vec<_> = pages.difference(&given).collect();
    assert!(without_page.is_empty(), "these have no page in docs/errors: {without_page:?}");
    assert!(without_error.is_empty(), "these pages are about nothing: {without_error:?}");
}

/// The code of a file: no comments, and no tests.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Whether a file is there for tests only: where its module is declared, it says so.
fn is_test(path: &Path) -> bool {
    let (folder, stem) = (path.parent().unwrap(), path.file_stem().unwrap().to_string_lossy());
    let declared = format!("#[cfg(test)]\nmod {stem};");
    let parent = folder.join("mod.rs");
    parent.exists() && read(&parent).contains(&declared)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[test]
fn heavy_crates_are_hidden_in_their_folders() {
    for file in sources("host/src").into_iter().filter(|file| !is_test(file)) {
        let text = code(&read(&file));
        for (name, folders) in HEAVY {
            // As a path: settings and messages may have the word.
            let path = format!("{name}::");
            let named = text.match_indices(&path).any(|(at, _)| !text[..at].ends_with(is_word));
            assert!(
                !named || folders.iter().any(|folder| local(&file).starts_with(folder)),
                "{} names `{name}`, which belongs in {folders:?}",
                local(&file)
            );
        }
    }
}

/// The modules of the host that a file names after `crate::`.
fn imports(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rest in text.split("crate::").skip(1) {
        let mut depth = 0;
        let mut at_start = true;
        for piece in rest.split_inclusive(|c| !is_word(c)) {
            let word = piece.trim_end_matches(|c| !is_word(c));
            if at_start && !word.is_empty() {
                found.insert(word.to_owned());
            }
            let last = piece.chars().last().filter(|c| !is_word(*c));
            depth += i32::from(last == Some('{')) - i32::from(last == Some('}'));
            // Within the braces of `crate::{...}` each part begins with a module.
            let between = word.is_empty() && at_start && last.is_some_and(char::is_whitespace);
            at_start = depth == 1 && (between || matches!(last, Some('{' | ',')));
            if depth <= 0 {
                break;
            }
        }
    }
    found
}

#[test]
fn imports_are_found_wherever_they_stand() {
    let found = |text: &str| imports(text).into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(found("use crate::model::Batch; let x = crate::job::plan();"), "job model");
    assert_eq!(found("use crate::{\n    a::{b, c::{d, e}},\n    f, g::h,\n};\nuse z::{y};"), "a f g");
}

/// `| module | may import |` of `docs/ARCHITECTURE.md`.
fn allowed() -> BTreeMap<String, BTreeSet<String>> {
    let text = read(&guests::root().join("docs/ARCHITECTURE.md"));
    let rows = text.lines().skip_while(|line| *line != "| module | may import |").skip(2);
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<_>>();
    let mut table = BTreeMap::new();
    for row in rows.take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let [module, may] = cells[..] else { panic!("a row of two cells: {row}") };
        assert!(!names(may).is_empty() || may.trim() == "-", "names in backticks, or `-`: {row}");
        table.extend(names(module).into_iter().map(|module| (module, names(may))));
    }
    assert!(!table.is_empty(), "docs/ARCHITECTURE.md has no table `| module | may import |`");
    table
}

#[test]
fn modules_know_only_whom_they_may() {
    let table = allowed();
    let mut modules = BTreeSet::new();
    for path in sources("host/src") {
        let file = local(&path);
        let module = file["host/src/".len()..].split(['/', '.']).next().unwrap().to_owned();
        if ["lib", "main"].contains(&&*module) {
            continue;
        }
        let may = table.get(&module).unwrap_or_else(|| panic!("docs/ARCHITECTURE.md does not speak of `{module}`"));
        for import in imports(&code(&read(&path))) {
            assert!(import == module || may.contains(&import), "{file}: `{module}` may not import `{import}`");
        }
        modules.insert(module);
    }
    for module in table.keys() {
        assert!(modules.contains(module), "docs/ARCHITECTURE.md speaks of `{module}`, which is not there");
    }
}

#[test]
fn frozen_versions_of_the_contract_do_not_change() {
    let frozen = guests::root().join("wit/frozen");
    if !frozen.exists() {
        return;
    }
    let sums = read(&frozen.join("SHA256SUMS"));
    let mut listed: BTreeMap<&str, &str> =
        sums.lines().filter_map(|line| line.split_once("  ")).map(|(sum, file)| (file, sum)).collect();
    for version in frozen.read_dir().unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        for file in version.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
            let name = file.strip_prefix(&frozen).unwrap().display().to_string();
            let sum: String =
                Sha256::digest(fs::read(&file).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(listed.remove(&*name), Some(&*sum), "wit/frozen/{name} is not the one in SHA256SUMS");
        }
    }
    assert!(listed.is_empty(), "SHA256SUMS speaks of files that are gone: {listed:?}");
}
