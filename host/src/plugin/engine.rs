//! The one wasmtime engine of a process: how guests are compiled, where compiled code is kept, and what makes a guest that does
//! not return stop. Knows nothing of what guests compute.
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sha2::{Digest, Sha256};
use wasmtime::{Config, Engine, OptLevel, component::Component};

use super::error::LoadError;

/// How often running guests look whether their time is up, and so how exact a deadline is.
pub const EPOCH_TICK: Duration = Duration::from_millis(5);

/// Bytes of stack a guest's calls may use. Threads that run guests need this and 1 MiB more.
pub const GUEST_STACK_BYTES_MAX: usize = 1 << 20;

/// Bytes a component may have.
pub const COMPONENT_BYTES_MAX: u64 = 256 << 20;

/// Compiles components and keeps the result. Cheap to clone.
#[derive(Clone)]
pub struct PluginEngine {
    engine: Engine,
    cache: Option<Arc<Path>>,
}

impl PluginEngine {
    /// `cache` is a directory for compiled code, made if it is missing; only its owner may be able to write there, since what
    /// lies in it is run. Without one, everything is compiled anew.
    pub fn new(cache: Option<PathBuf>) -> Result<PluginEngine, LoadError> {
        PluginEngine::make(cache, true)
    }

    /// For components that may not be wanted: nothing is kept, and functions are compiled one after the other, so that no more than one is
    /// in work, and other processors are left alone.
    pub fn for_uploads() -> Result<PluginEngine, LoadError> {
        PluginEngine::make(None, false)
    }

    fn make(cache: Option<PathBuf>, parallel: bool) -> Result<PluginEngine, LoadError> {
        let mut config = Config::new();
        config
            .wasm_component_model(true)
            .cranelift_opt_level(OptLevel::Speed)
            .max_wasm_stack(GUEST_STACK_BYTES_MAX)
            .epoch_interruption(true)
            .parallel_compilation(parallel);
        let engine = Engine::new(&config).map_err(|error| LoadError::Invalid(format!("{error:#}")))?;
        let weak = engine.weak();
        std::thread::Builder::new()
            .name("epochs".into())
            .spawn(move || {
                while let Some(engine) = weak.upgrade() {
                    engine.increment_epoch();
                    drop(engine);
                    std::thread::sleep(EPOCH_TICK);
                }
            })
            .map_err(|error| LoadError::Io { path: "thread `epochs`".into(), error })?;
        Ok(PluginEngine { engine, cache: cache.map(Arc::from) })
    }

    /// The directory compiled code is kept in by default: `$XDG_CACHE_HOME/wasmill` or `~/.cache/wasmill`; none without a home.
    pub fn default_cache() -> Option<PathBuf> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Some(set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?.join("wasmill"))
    }

    /// Removes what was compiled from a file with this SHA-256 (hexadecimal digits), by whichever engine.
    pub fn forget(&self, digest: &str) -> std::io::Result<()> {
        let Some(cache) = &self.cache else { return Ok(()) };
        let entries = match cache.read_dir() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(digest.as_bytes()) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Compiles a component, or takes what was compiled before from the same bytes by an equal engine.
    pub(super) fn compile(&self, bytes: &[u8]) -> Result<Component, LoadError> {
        let Some(cache) = &self.cache else {
            return self.compile_anew(bytes);
        };
        let mut hasher = DefaultHasher::new();
        self.engine.precompile_compatibility_hash().hash(&mut hasher);
        let path = cache.join(format!("{}-{:016x}.compiled", digest(bytes), hasher.finish()));
        if path.exists() {
            // SAFETY: the directory is the user's own and files appear in it whole, by rename, written by this very function.
            match unsafe { Component::deserialize_file(&self.engine, &path) } {
                Ok(component) => return Ok(component),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "a compiled component is unusable; compiling anew")
                }
            }
        }
        let component = self.compile_anew(bytes)?;
        if let Err(error) = keep(&component, cache, &path) {
            tracing::warn!(path = %path.display(), %error, "compiled code cannot be kept; it will be compiled again next time");
        }
        Ok(component)
    }

    fn compile_anew(&self, bytes: &[u8]) -> Result<Component, LoadError> {
        Component::from_binary(&self.engine, bytes).map_err(|error| LoadError::Invalid(format!("{error:#}")))
    }
}

fn keep(component: &Component, cache: &Path, path: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(cache)?;
    let compiled = component.serialize().map_err(std::io::Error::other)?;
    let mut file = tempfile::NamedTempFile::new_in(cache)?;
    file.write_all(&compiled)?;
    file.persist(path)?;
    Ok(())
}

/// SHA-256, in hexadecimal digits.
pub fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let bytes = Sha256::digest(bytes);
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
