//! Builds the guests of `tests/guests` that are not written in Rust, straight against the contract's WIT, and plugins in Rust.
//! Guarantees: a guest is built once for all test processes, and again when its sources or the contract change. Tools that are
//! missing fail the test with the name of the package to install.
use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Mutex, PoisonError},
};

use sha2::{Digest, Sha256};
use wasmill::plugin::build::{self, componentize};
use wit_bindgen_core::{Files, wit_parser::Resolve};

use super::python;

/// The C compiler, and the Debian packages that make up its tools for WebAssembly.
const CLANG: &str = "clang-19";
const C_PACKAGES: &str = "clang-19 lld-19 libclang-rt-19-dev-wasm32 wasi-libc";
const C_FLAGS: [&str; 7] =
    ["--target=wasm32-wasi", "-mexec-model=reactor", "-O2", "-Wall", "-Wextra", "-Werror", "-Wl,--strip-debug"];
/// A linear memory's stack, in bytes: deep enough for libc's printing.
const C_STACK: &str = "-Wl,-z,stack-size=65536";
/// The Python toolchain, from PyPI, known to work.
const COMPONENTIZE_PY: &str = "componentize-py==0.25.1";
/// The contract, from the root. A guest names its world in `wit/world.wit`.
const CONTRACT: &str = "wit";

/// The component of `tests/guests/NAME`, which is written in C.
pub fn c(name: &str) -> PathBuf {
    guest(name, &format!("{CLANG} {C_FLAGS:?} {C_STACK}"), |sources, work, component| {
        bindings(&work.join("wit"), &work.join("bindings"));
        let module = work.join("module.wasm");
        let mut inputs = files(&work.join("bindings"), &["c", "o"]);
        inputs.extend(files(sources, &["c"]));
        let mut clang = Command::new(CLANG);
        clang.args(C_FLAGS).arg(C_STACK).arg("-I").arg(work.join("bindings")).args(inputs).arg("-o").arg(&module);
        run(&mut clang, &format!("the C guests need the Debian packages {C_PACKAGES}"));
        let module = fs::read(&module).expect("clang's module");
        let encoded = componentize(&module).unwrap_or_else(|error| panic!("{name}: {error}"));
        fs::write(component, encoded).expect("write the component");
    })
}

/// The component of `tests/guests/NAME`, which is written in Python.
pub fn python(name: &str) -> PathBuf {
    guest(name, COMPONENTIZE_PY, |sources, work, component| {
        let programs = python::environment("python", COMPONENTIZE_PY);
        let mut command = Command::new(programs.join("componentize-py"));
        command.arg("-d").arg(work.join("wit")).args(["-w", &world(sources), "componentize"]);
        command.arg("-p").arg(sources).arg(name.trim_end_matches("-python").replace('-', "_")).arg("-o").arg(component);
        run(&mut command, &format!("{COMPONENTIZE_PY} is broken; remove {}", cache().display()));
    })
}

/// The component of the plugin in Rust in `directory`, built by the host's own toolchain.
pub fn rust_plugin(directory: &Path) -> PathBuf {
    once(directory, || {
        let options = build::Options { verbose: false, build_directory: Some(rust_target()) };
        build::build(directory, &options).unwrap_or_else(|error| panic!("{error}"))
    })
}

/// Cargo's target directory of all plugins built for WebAssembly.
pub fn rust_target() -> PathBuf {
    cache().join("rust")
}

/// Cargo's target directory of all plugins built to run their own tests.
pub fn native_target() -> PathBuf {
    cache().join("native")
}

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are in the repository").to_owned()
}

/// Where the engine may keep what it compiled of guests, for all test processes.
pub fn compiled() -> PathBuf {
    cache().join("compiled")
}

/// Where what tests have built is kept, in the target directory the test runs from.
pub(crate) fn cache() -> PathBuf {
    let test = std::env::current_exe().expect("the path of the test");
    // TARGET/PROFILE/deps/TEST
    // Tests are in a folder of their own, programs are not.
    let folder = test.parent().expect("a program is in a folder");
    let profile = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    let cache = profile.join("guests");
    fs::create_dir_all(&cache).expect("the target directory is writable");
    cache
}

/// Results of this process, so that its tests ask the disk once.
fn once(key: &Path, make: impl FnOnce() -> PathBuf) -> PathBuf {
    static DONE: Mutex<BTreeMap<PathBuf, PathBuf>> = Mutex::new(BTreeMap::new());
    // A failed build poisons the lock; the others still want theirs.
    let mut done = DONE.lock().unwrap_or_else(PoisonError::into_inner);
    done.get(key).cloned().unwrap_or_else(|| {
        let made = make();
        done.insert(key.to_owned(), made.clone());
        made
    })
}

/// Builds a guest unless it is there. `make` gets the sources, a directory to work in with the WIT staged in `wit`, and the
/// component's path.
fn guest(name: &str, tools: &str, make: impl FnOnce(&Path, &Path, &Path)) -> PathBuf {
    let sources = root().join("tests/guests").join(name);
    once(&sources.clone(), || {
        let cache = cache();
        let _lock = locked(&cache.join(format!("{name}.lock")));
        let component = cache.join(format!("{name}-{}.wasm", digest(&sources, tools)));
        if !component.is_file() {
            let work = cache.join(name);
            let _ = fs::remove_dir_all(&work);
            copy(&sources.join("wit"), &work.join("wit"));
            copy(&root().join(CONTRACT), &work.join("wit/deps/operator"));
            let part = work.join("component.wasm");
            make(&sources, &work, &part);
            fs::rename(&part, &component).expect("move the component to its place");
        }
        component
    })
}

/// A lock between processes, until it is dropped.
pub(crate) fn locked(path: &Path) -> File {
    let file = File::create(path).expect("create a lock file");
    file.lock().expect("lock it");
    file
}

/// C bindings of the world in `wit`, with the object that carries its type.
fn bindings(wit: &Path, into: &Path) {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(wit).unwrap_or_else(|error| panic!("{}: {error:#}", wit.display()));
    let world = resolve.select_world(&[package], None).unwrap_or_else(|error| panic!("{error:#}"));
    let mut files = Files::default();
    wit_bindgen_c::Opts::default()
        .build()
        .generate(&mut resolve, world, &mut files)
        .expect("C bindings of the contract");
    fs::create_dir_all(into).expect("a directory for bindings");
    for (name, contents) in files.iter() {
        fs::write(into.join(name), contents).expect("write bindings");
    }
}

/// The world of a guest's WIT.
fn world(sources: &Path) -> String {
    let text = fs::read_to_string(sources.join("wit/world.wit")).expect("a guest has wit/world.wit");
    let name = text.split_once("world ").and_then(|(_, rest)| rest.split_whitespace().next());
    name.expect("wit/world.wit has a world").to_owned()
}

/// What a command said. If it fails, so does the test, with that and what to do.
pub(crate) fn run(command: &mut Command, advice: &str) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; {advice}"));
    assert!(
        output.status.success(),
        "{command:?} failed ({}); {advice}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// All that the component is made of, as hexadecimal digits.
fn digest(sources: &Path, tools: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(tools);
    for directory in [sources, &root().join(CONTRACT), &root().join("host/src/plugin/build")] {
        for file in files(directory, &[]) {
            hash.update(file.strip_prefix(directory).expect("a file below it").to_string_lossy().as_bytes());
            hash.update([0]);
            hash.update(fs::read(&file).expect("read a source"));
        }
    }
    // Long enough that sources never meet by chance.
    const DIGEST_BYTES: usize = 8;
    hash.finalize()[..DIGEST_BYTES].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Files below a directory with one of these extensions, or all, in order; without what Python leaves.
fn files(directory: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let entries = directory.read_dir().unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.expect("read a directory").path()) {
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        if path.is_dir() && !path.ends_with("__pycache__") {
            found.extend(files(&path, extensions));
        } else if path.is_file() && (extensions.is_empty() || extensions.contains(&&*extension)) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    for file in files(from, &["wit"]) {
        let target = to.join(file.strip_prefix(from).expect("a file below it"));
        fs::create_dir_all(target.parent().expect("it has a name")).expect("make a directory");
        fs::copy(&file, &target).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}
