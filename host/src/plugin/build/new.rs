//! Writes a new plugin from templates. Guarantees: nothing that exists is changed. Must not know how plugins are built.
use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

/// The longest name of a plugin, the same as crates.io has.
const NAME_MAX_BYTES: usize = 64;

/// What a plugin can be written in from a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// With the SDK `wasmill-sdk`.
    Rust,
}

impl Language {
    /// Every language there is a template for.
    pub const ALL: [Language; 1] = [Language::Rust];

    fn name(self) -> &'static str {
        match self {
            Language::Rust => "rust",
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Language {
    type Err = NewError;

    fn from_str(text: &str) -> Result<Self, NewError> {
        Self::ALL
            .into_iter()
            .find(|language| language.name() == text)
            .ok_or_else(|| NewError::Language { language: text.to_owned() })
    }
}

/// Why no plugin was written.
#[derive(Debug, thiserror::Error)]
pub enum NewError {
    /// A name cargo, the contract or a file system would not like.
    #[error(
        "`{0}` cannot be a plugin's name: use lower-case letters, digits and hyphens, a letter first, no hyphen last or \
         twice in a row, {NAME_MAX_BYTES} at most"
    )]
    Name(String),
    /// No template for it.
    #[error("no template for the language `{language}`; there is: {}", names())]
    Language {
        /// What was asked for.
        language: String,
    },
    /// Something is there already.
    #[error("{}: exists and is not empty; choose another name or directory", .0.display())]
    NotEmpty(PathBuf),
    /// No SDK where it was said to be.
    #[error("{}: no Cargo.toml of the SDK here", .0.display())]
    NoSdk(PathBuf),
    /// A file could not be written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn names() -> String {
    Language::ALL.map(Language::name).join(", ")
}

/// Path in the plugin, template.
const RUST: [(&str, &str); 4] = [
    ("Cargo.toml", include_str!("../../../templates/rust/Cargo.toml.template")),
    ("src/lib.rs", include_str!("../../../templates/rust/lib.rs.template")),
    ("README.md", include_str!("../../../templates/rust/README.md.template")),
    (".gitignore", include_str!("../../../templates/rust/gitignore.template")),
];

/// Writes the plugin `name` into a new directory of that name in `parent`, and returns the directory. `sdk` is the directory
/// of the SDK's crate to use instead of the published one.
pub fn new(name: &str, language: Language, parent: &Path, sdk: Option<&Path>) -> Result<PathBuf, NewError> {
    if !is_name(name) {
        return Err(NewError::Name(name.to_owned()));
    }
    let sdk = match sdk {
        None => format!("\"{}\"", env!("CARGO_PKG_VERSION")),
        Some(path) => {
            let crate_directory = path.canonicalize().map_err(|_| NewError::NoSdk(path.to_owned()))?;
            if !crate_directory.join("Cargo.toml").is_file() {
                return Err(NewError::NoSdk(path.to_owned()));
            }
            // JSON's escapes are TOML's.
            format!("{{ path = {} }}", serde_json::Value::from(crate_directory.to_string_lossy()))
        }
    };
    let directory = parent.join(name);
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| NewError::File { path, source }
    };
    fs::create_dir_all(&directory).map_err(at(&directory))?;
    if directory.read_dir().map_err(at(&directory))?.next().is_some() {
        return Err(NewError::NotEmpty(directory));
    }
    let Language::Rust = language;
    for (path, template) in RUST {
        let path = directory.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(at(parent))?;
        }
        fs::write(&path, template.replace("@NAME@", name).replace("@SDK@", &sdk)).map_err(at(&path))?;
    }
    Ok(directory)
}

fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.len() <= NAME_MAX_BYTES
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(allowed)
        && !name.ends_with('-')
        && !name.contains("--")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_written_once() {
        let parent = tempfile::tempdir().unwrap();
        let directory = new("up-case2", Language::Rust, parent.path(), None).unwrap();
        assert_eq!(directory, parent.path().join("up-case2"));
        let manifest = fs::read_to_string(directory.join("Cargo.toml")).unwrap();
        assert!(manifest.contains("name = \"up-case2\""), "{manifest}");
        assert!(manifest.contains(concat!("wasmill-sdk = \"", env!("CARGO_PKG_VERSION"), "\"")), "{manifest}");
        for (path, _) in RUST {
            assert!(!fs::read_to_string(directory.join(path)).unwrap().contains('@'), "{path}");
        }
        assert!(matches!(new("up-case2", Language::Rust, parent.path(), None), Err(NewError::NotEmpty(_))));
    }

    #[test]
    fn names_that_would_not_do_are_refused() {
        let parent = tempfile::tempdir().unwrap();
        for name in ["", "A", "a_b", "1a", "-a", "a-", "a--b", "../a", "a b", "\u{e4}", &"a".repeat(NAME_MAX_BYTES + 1)]
        {
            assert!(matches!(new(name, Language::Rust, parent.path(), None), Err(NewError::Name(_))), "{name}");
        }
        assert_eq!(parent.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn an_sdk_on_this_machine_becomes_a_path() {
        let parent = tempfile::tempdir().unwrap();
        let sdk = parent.path().join("sdk");
        assert!(matches!(new("a", Language::Rust, parent.path(), Some(&sdk)), Err(NewError::NoSdk(_))));
        fs::create_dir(&sdk).unwrap();
        fs::write(sdk.join("Cargo.toml"), "").unwrap();
        let directory = new("a", Language::Rust, parent.path(), Some(&sdk)).unwrap();
        let manifest = fs::read_to_string(directory.join("Cargo.toml")).unwrap();
        assert!(manifest.contains("wasmill-sdk = { path = \"/"), "{manifest}");
    }

    #[test]
    fn other_languages_are_told_what_there_is() {
        assert_eq!("rust".parse::<Language>().unwrap(), Language::Rust);
        let error = "cobol".parse::<Language>().unwrap_err().to_string();
        assert_eq!(error, "no template for the language `cobol`; there is: rust");
    }
}
