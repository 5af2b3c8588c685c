//! Builds a Rust crate into a component. Guarantees: cargo decides what is fresh; the component is replaced as a whole or not
//! at all; the build is the same whether or not it runs inside another cargo. Must not know what the component does.
use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::UNIX_EPOCH,
};

use serde_json::Value;

use super::{
    componentize::{ComponentizeError, componentize},
    toolchain::{TARGET, Toolchain, ToolchainError},
};

/// Names a directory for cargo's intermediate files of all plugins, so that what they have in common (the standard library,
/// the SDK) is compiled once. Without it they go to `target` in the plugin's directory.
pub const BUILD_DIRECTORY_VARIABLE: &str = "WASMILL_BUILD_DIR";

/// What the release profile of a plugin is, unless its manifest has one.
const PROFILE: [(&str, &str); 5] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3"),
    ("CARGO_PROFILE_RELEASE_LTO", "fat"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_RELEASE_PANIC", "abort"),
    ("CARGO_PROFILE_RELEASE_STRIP", "symbols"),
];
const FLAGS_VARIABLE: &str = "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS";
const FLAGS: &str = "-C target-feature=+simd128";

/// What an outer cargo (or cargo's wrappers) sets for what it runs, and would bend an inner build.
const OUTER: [&str; 12] = [
    "CARGO",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_CRATE_NAME",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_MAKEFLAGS",
    "CARGO_PRIMARY_PACKAGE",
    "CARGO_TARGET_DIR",
    "CARGO_TARGET_TMPDIR",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTFLAGS",
];
const OUTER_PREFIXES: [&str; 5] = ["CARGO_BIN_", "CARGO_CFG_", "CARGO_FEATURE_", "CARGO_MANIFEST_", "CARGO_PKG_"];

/// Why a plugin could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// No crate there.
    #[error("{}: no Cargo.toml here; name the directory of a plugin, or make one with `wasmill plugin new`", .0.display())]
    NoManifest(PathBuf),
    /// A workspace of several crates, or a crate cargo does not list.
    #[error("{}: not the manifest of one crate; name the directory of one of: {members}", manifest.display())]
    NoPackage {
        /// The manifest.
        manifest: PathBuf,
        /// Directories that would do.
        members: String,
    },
    /// The crate is a program or an ordinary library.
    #[error("{}: the crate makes no WebAssembly module; add `[lib]` with `crate-type = [\"cdylib\"]`", .0.display())]
    NoLibrary(PathBuf),
    /// See there.
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    /// Cargo itself does not start.
    #[error("cannot run {}: {source}; install Rust from https://rustup.rs", program.display())]
    Cargo {
        /// What was to be run.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The compiler refused; its messages went to stderr.
    #[error("{}: cargo failed ({status}); its messages are above", directory.display())]
    Failed {
        /// The plugin.
        directory: PathBuf,
        /// How cargo ended.
        status: std::process::ExitStatus,
    },
    /// Cargo's answer was not understood.
    #[error("{}: cargo's answer makes no sense: {what}; is it newer or much older than wasmill?", directory.display())]
    Answer {
        /// The plugin.
        directory: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The module is no operator.
    #[error("{}: {source}", module.display())]
    Componentize {
        /// The core module.
        module: PathBuf,
        /// See there.
        source: ComponentizeError,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// How to build.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Whether cargo's messages go to stderr in any case, and not only when it fails.
    pub verbose: bool,
    /// See [`BUILD_DIRECTORY_VARIABLE`].
    pub build_directory: Option<PathBuf>,
}

impl Options {
    /// What the environment says.
    pub fn from_environment(verbose: bool) -> Self {
        let build_directory = env::var_os(BUILD_DIRECTORY_VARIABLE).filter(|value| !value.is_empty());
        Self { verbose, build_directory: build_directory.map(PathBuf::from) }
    }
}

/// Builds the plugin in `directory` and returns the path of its component, `target/wasmill/NAME.wasm` there.
pub fn build(directory: &Path, options: &Options) -> Result<PathBuf, BuildError> {
    let manifest = directory.join("Cargo.toml");
    if !manifest.is_file() {
        return Err(BuildError::NoManifest(directory.to_owned()));
    }
    let manifest = manifest.canonicalize().map_err(|source| BuildError::File { path: manifest, source })?;
    // A canonical manifest has a parent, the directory it is in.
    let directory = manifest.parent().unwrap_or(directory);
    let toolchain = Toolchain::find(directory)?;
    let package = Package::find(&toolchain, &manifest)?;
    let build_directory = options.build_directory.clone().unwrap_or_else(|| directory.join("target"));
    let build_directory = std::path::absolute(&build_directory)
        .and_then(|path| fs::create_dir_all(&path).map(|()| path))
        .map_err(|source| BuildError::File { path: build_directory, source })?;
    // Two plugins of one name leave their modules under one name in a shared directory: whoever builds keeps the lock until
    // the module has been read.
    let lock_path = build_directory.join(".wasmill-lock");
    let _lock = fs::File::create(&lock_path)
        .and_then(|file| file.lock().map(|()| file))
        .map_err(|source| BuildError::File { path: lock_path, source })?;
    take_over(&package, &build_directory)?;
    let module = compile(&toolchain, &package, &build_directory, options.verbose)?;
    let component = directory.join("target/wasmill").join(format!("{}.wasm", package.name));
    write_component(&module, &component)?;
    Ok(component)
}

/// Makes cargo build a crate anew if another of that name was built in this directory since: it gives the modules of both one name, and
/// would take the one for the other.
fn take_over(package: &Package, build_directory: &Path) -> Result<(), BuildError> {
    let owner_path = build_directory.join(format!(".wasmill-{}", package.name));
    let manifest = package.manifest.as_os_str().as_encoded_bytes();
    if fs::read(&owner_path).is_ok_and(|owner| owner == manifest) {
        return Ok(());
    }
    let module = build_directory.join(TARGET).join("release/deps").join(package.name.replace('-', "_") + ".wasm");
    match fs::remove_file(&module) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(BuildError::File { path: module, source }),
        _ => fs::write(&owner_path, manifest).map_err(|source| BuildError::File { path: owner_path, source }),
    }
}

/// What cargo knows of the crate.
struct Package {
    name: String,
    manifest: PathBuf,
    has_profile: bool,
}

impl Package {
    fn find(toolchain: &Toolchain, manifest: &Path) -> Result<Self, BuildError> {
        let directory = manifest.parent().unwrap_or(manifest);
        let mut command = cargo(toolchain, directory);
        command.args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"]).arg(manifest);
        let output = run(&mut command, directory, false)?;
        let wrong = |what: String| BuildError::Answer { directory: directory.to_owned(), what };
        let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|error| wrong(error.to_string()))?;
        let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
        let path = |package: &Value| PathBuf::from(package["manifest_path"].as_str().unwrap_or_default());
        let package = packages.iter().find(|package| path(package) == manifest).or(match packages {
            [only] => Some(only),
            _ => None,
        });
        let Some(package) = package else {
            let members =
                packages.iter().filter_map(|package| path(package).parent().map(|at| at.display().to_string()));
            let members = members.collect::<Vec<_>>().join(", ");
            return Err(BuildError::NoPackage { manifest: manifest.to_owned(), members });
        };
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let name = text(&package["name"]).ok_or_else(|| wrong("a package has no name".into()))?;
        let root = text(&metadata["workspace_root"]).map_or_else(|| directory.to_owned(), PathBuf::from);
        let root = root.join("Cargo.toml");
        let root_text = fs::read_to_string(&root).map_err(|source| BuildError::File { path: root, source })?;
        Ok(Self { name, manifest: path(package), has_profile: has_release_profile(&root_text) })
    }
}

/// Whether a manifest sets anything of the release profile. Cargo does not tell, and its environment variables win over the
/// manifest.
fn has_release_profile(manifest: &str) -> bool {
    manifest.lines().any(|line| {
        let line: String = line.chars().filter(|c| !c.is_whitespace() && !matches!(c, '"' | '\'')).collect();
        ["[profile.release]", "[profile.release.", "profile.release."].iter().any(|start| line.starts_with(start))
    })
}

/// Runs `cargo build` and returns the core module it made.
fn compile(
    toolchain: &Toolchain,
    package: &Package,
    build_directory: &Path,
    verbose: bool,
) -> Result<PathBuf, BuildError> {
    let directory = package.manifest.parent().unwrap_or(&package.manifest);
    let mut command = cargo(toolchain, directory);
    command.args(["build", "--release", "--lib", "--message-format", "json-render-diagnostics", "--target", TARGET]);
    command.arg("--manifest-path").arg(&package.manifest);
    toolchain.apply(&mut command);
    command.env("CARGO_TARGET_DIR", build_directory);
    let unset = |name: &str| env::var_os(name).is_none();
    if unset(FLAGS_VARIABLE) {
        command.env(FLAGS_VARIABLE, FLAGS);
    }
    if !package.has_profile {
        command.envs(PROFILE.into_iter().filter(|(name, _)| unset(name)));
    }
    let output = run(&mut command, directory, verbose)?;
    let wrong = |what: String| BuildError::Answer { directory: directory.to_owned(), what };
    let mut module = None;
    for line in output.stdout.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{")) {
        let message: Value = serde_json::from_slice(line).map_err(|error| wrong(error.to_string()))?;
        let is_ours = message["manifest_path"].as_str().map(Path::new) == Some(&package.manifest);
        if is_ours && message["reason"] == "compiler-artifact" {
            let files = message["filenames"].as_array().map_or(&[][..], Vec::as_slice);
            module = files
                .iter()
                .filter_map(Value::as_str)
                .find(|file| file.ends_with(".wasm"))
                .map(PathBuf::from)
                .or(module);
        }
    }
    module.ok_or_else(|| BuildError::NoLibrary(package.manifest.clone()))
}

/// A cargo as if started from a shell in `directory`.
fn cargo(toolchain: &Toolchain, directory: &Path) -> Command {
    let mut command = Command::new(toolchain.cargo());
    command.current_dir(directory).stdin(Stdio::null());
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if OUTER.contains(&&*text) || OUTER_PREFIXES.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command
}

fn run(command: &mut Command, directory: &Path, verbose: bool) -> Result<Output, BuildError> {
    command.stdout(Stdio::piped()).stderr(if verbose { Stdio::inherit() } else { Stdio::piped() });
    let output = command.spawn().and_then(std::process::Child::wait_with_output);
    let output =
        output.map_err(|source| BuildError::Cargo { program: command.get_program().to_owned().into(), source })?;
    if output.status.success() {
        return Ok(output);
    }
    // Nothing is to be done if stderr is closed; the error that follows says enough.
    let _ = io::stderr().write_all(&output.stderr);
    Err(BuildError::Failed { directory: directory.to_owned(), status: output.status })
}

/// Makes `component` from `module` unless it was made from the same one before.
fn write_component(module: &Path, component: &Path) -> Result<(), BuildError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| BuildError::File { path, source }
    };
    let metadata = module.metadata().map_err(at(module))?;
    let modified = metadata.modified().map_err(at(module))?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let stamp =
        format!("{} {} {} {}\n", module.display(), metadata.len(), modified.as_nanos(), env!("CARGO_PKG_VERSION"));
    let stamp_path = component.with_extension("stamp");
    if component.is_file() && fs::read_to_string(&stamp_path).is_ok_and(|old| old == stamp) {
        return Ok(());
    }
    let bytes = fs::read(module).map_err(at(module))?;
    let encoded =
        componentize(&bytes).map_err(|source| BuildError::Componentize { module: module.to_owned(), source })?;
    // The component's path ends in `target/wasmill/NAME.wasm`.
    let directory = component.parent().unwrap_or(component);
    fs::create_dir_all(directory).map_err(at(directory))?;
    let part = component.with_extension("part");
    fs::write(&part, &encoded).map_err(at(&part))?;
    fs::rename(&part, component).map_err(at(component))?;
    fs::write(&stamp_path, stamp).map_err(at(&stamp_path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_profile_is_seen_however_it_is_written() {
        for text in [
            "[profile.release]",
            " [ profile . release ] # mine",
            "[profile.release.package.a]",
            "profile.release.lto = true",
        ] {
            assert!(has_release_profile(text), "{text}");
        }
        for text in ["", "[profile.dev]", "# [profile.release]", "[profile.release-small]"] {
            assert!(!has_release_profile(text), "{text}");
        }
    }

    #[test]
    fn a_directory_without_a_crate_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let error = build(directory.path(), &Options::default()).unwrap_err().to_string();
        assert!(error.starts_with(&directory.path().display().to_string()), "{error}");
        assert!(error.contains("wasmill plugin new"), "{error}");
    }
}
