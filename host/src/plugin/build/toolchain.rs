//! Finds what compiles Rust to WebAssembly on this machine. Guarantees: nothing is installed unless we are the administrator of
//! a Debian system. Must not know what is being compiled.
use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The target all Rust plugins are built for.
pub(super) const TARGET: &str = "wasm32-unknown-unknown";

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
/// Debian's current Rust with the sources of its standard library and a linker. `rustc-web` follows upstream in the stable
/// releases, where `rustc` stands still.
const DEBIAN_PACKAGES: [&str; 5] = ["rustc-web", "cargo-web", "rust-web-src", "libstd-rust-web-dev", "rust-web-llvm"];

/// Why there is nothing to compile with.
#[derive(Debug, thiserror::Error)]
pub enum ToolchainError {
    /// Nobody may install it but the user.
    #[error(
        "no Rust compiler with a standard library for {TARGET}. Either run `rustup target add {TARGET}`, or on Debian, as \
         root, `apt-get install {}`",
        DEBIAN_PACKAGES.join(" ")
    )]
    Missing,
    /// We tried to install it.
    #[error(
        "no Rust compiler with a standard library for {TARGET}, and `{command}` failed: {reason}; or run `rustup target add {TARGET}`"
    )]
    Install {
        /// What was run.
        command: String,
        /// The end of what it said.
        reason: String,
    },
}

/// A way to compile for [`TARGET`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Toolchain {
    /// The toolchain in use has the target's standard library.
    Ready,
    /// A compiler that comes with the sources of its standard library, which is then compiled with the plugin.
    FromSource { cargo: PathBuf, rustc: PathBuf, linker: PathBuf },
}

impl Toolchain {
    /// Looks for a toolchain, as cargo would choose it in `directory`, and installs one if it may.
    pub(super) fn find(directory: &Path) -> Result<Self, ToolchainError> {
        if let Some(found) = Self::look(directory) {
            return Ok(found);
        }
        // SAFETY: geteuid reads a number of this process and cannot fail.
        let is_root = unsafe { libc::geteuid() } == 0;
        let Some(apt) = in_path("apt-get").filter(|_| is_root) else { return Err(ToolchainError::Missing) };
        install(&apt)?;
        Self::look(directory).ok_or(ToolchainError::Missing)
    }

    fn look(directory: &Path) -> Option<Self> {
        let rustc = env::var_os("RUSTC").map_or_else(|| PathBuf::from("rustc"), PathBuf::from);
        let sysroot = sysroot(&rustc, directory);
        if sysroot.as_deref().is_some_and(has_standard_library) {
            return Some(Self::Ready);
        }
        let rustc = PathBuf::from(DEBIAN_RUSTC);
        let sources = self::sysroot(&rustc, directory)?.join("lib/rustlib/src/rust/library");
        // The vendored crates are what std depends on: without them cargo would look for their exact versions elsewhere.
        if !sources.join("std/Cargo.toml").is_file() || !sources.join("vendor").is_dir() {
            return None;
        }
        let linker = linker(sysroot.as_deref())?;
        // Cargo must understand the manifests of the compiler's own release.
        let same_release = minor(Path::new(DEBIAN_CARGO), directory)
            .is_some_and(|cargo| minor(&rustc, directory).is_some_and(|rustc| cargo >= rustc));
        let cargo = PathBuf::from(if same_release { DEBIAN_CARGO } else { "cargo" });
        Some(Self::FromSource { cargo, rustc, linker })
    }

    /// The cargo to run.
    pub(super) fn cargo(&self) -> &Path {
        match self {
            Self::Ready => Path::new("cargo"),
            Self::FromSource { cargo, .. } => cargo,
        }
    }

    /// Adds to a `cargo build` for [`TARGET`] what this toolchain needs.
    pub(super) fn apply(&self, command: &mut Command) {
        if let Self::FromSource { rustc, linker, .. } = self {
            command.args(["-Z", "build-std=std,panic_abort"]);
            // `build-std` is not stable; the compiler and its sources come from one package, so they fit.
            command.env("RUSTC_BOOTSTRAP", "1").env("RUSTC", rustc);
            command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        }
    }
}

/// The release of a Rust tool: 96 for 1.96.
fn minor(tool: &Path, directory: &Path) -> Option<u32> {
    answer(tool, "--version", directory)?.split('.').nth(1)?.parse().ok()
}

fn sysroot(rustc: &Path, directory: &Path) -> Option<PathBuf> {
    answer(rustc, "--print=sysroot", directory).map(PathBuf::from)
}

fn answer(tool: &Path, question: &str, directory: &Path) -> Option<String> {
    let output = Command::new(tool).arg(question).current_dir(directory).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn has_standard_library(sysroot: &Path) -> bool {
    files(&sysroot.join("lib/rustlib").join(TARGET).join("lib"))
        .any(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libstd-")))
}

/// rustup's linker, Rust's of Debian, or the newest of LLVM's: an old one does not know what new compilers emit.
fn linker(sysroot: Option<&Path>) -> Option<PathBuf> {
    let rustup = sysroot.into_iter().flat_map(|sysroot| files(&sysroot.join("lib/rustlib")));
    rustup
        .map(|host| host.join("bin/rust-lld"))
        .find(|linker| linker.is_file())
        .or_else(|| in_path("rust-lld"))
        .or_else(|| {
            let newest = env::split_paths(&env::var_os("PATH")?)
                .flat_map(|directory| files(&directory).collect::<Vec<_>>())
                .filter_map(|file| {
                    let version = file.file_name()?.to_str()?.strip_prefix("wasm-ld-")?.parse::<u32>().ok()?;
                    Some((version, file))
                })
                .max()?;
            Some(newest.1)
        })
        .or_else(|| in_path("wasm-ld"))
}

fn files(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    directory.read_dir().into_iter().flatten().flatten().map(|entry| entry.path())
}

fn in_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|directory| directory.join(name)).find(|file| file.is_file())
}

fn install(apt: &Path) -> Result<(), ToolchainError> {
    eprintln!("installing Rust's standard library for {TARGET}, once: apt-get install {}", DEBIAN_PACKAGES.join(" "));
    run(apt, &["update"])?;
    // Whatever conflicts (Debian's own rustup does) stays; the user decides.
    let mut arguments = vec!["install", "--yes", "--no-install-recommends", "--no-remove"];
    arguments.extend(DEBIAN_PACKAGES);
    run(apt, &arguments)
}

fn run(apt: &Path, arguments: &[&str]) -> Result<(), ToolchainError> {
    let failed =
        |reason| ToolchainError::Install { command: format!("{} {}", apt.display(), arguments.join(" ")), reason };
    let output = Command::new(apt)
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(said.lines().last().unwrap_or("it said nothing").to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standard_library_is_recognised_by_its_files() {
        let sysroot = tempfile::tempdir().unwrap();
        assert!(!has_standard_library(sysroot.path()));
        let libraries = sysroot.path().join("lib/rustlib").join(TARGET).join("lib");
        std::fs::create_dir_all(&libraries).unwrap();
        assert!(!has_standard_library(sysroot.path()));
        std::fs::write(libraries.join("libstd-0123.rlib"), "").unwrap();
        assert!(has_standard_library(sysroot.path()));
    }

    #[test]
    fn the_linker_of_the_toolchain_in_use_comes_first() {
        let sysroot = tempfile::tempdir().unwrap();
        let programs = sysroot.path().join("lib/rustlib/some-host/bin");
        std::fs::create_dir_all(&programs).unwrap();
        std::fs::write(programs.join("rust-lld"), "").unwrap();
        assert_eq!(linker(Some(sysroot.path())), Some(programs.join("rust-lld")));
    }

    #[test]
    fn the_error_says_both_ways() {
        let text = ToolchainError::Missing.to_string();
        assert!(text.contains("rustup target add wasm32-unknown-unknown"), "{text}");
        assert!(text.contains("apt-get install rustc-web"), "{text}");
    }
}
