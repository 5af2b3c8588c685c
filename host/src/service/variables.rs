//! What `${NAME}` in a job's text stands for on a server. Values are read anew at every start and kept nowhere.
use std::{
    collections::BTreeMap,
    fs::File,
    io::{ErrorKind, Read},
    path::Path,
};

/// What names of the server's environment variables begin with that jobs may use.
pub const VARIABLES_PREFIX: &str = "WASMILL_VAR_";

/// The longest secret.
pub const SECRET_BYTES_MAX: u64 = 64 << 10;

/// The variables of this process's environment that jobs may use, without their prefix.
pub fn environment_variables() -> BTreeMap<String, String> {
    let shared = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.to_str()?.strip_prefix(VARIABLES_PREFIX)?.to_owned(), value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(shared).collect()
}

/// The value of a variable: the one given with the job, else the server's, else the content of the file of this name in the folder of
/// secrets, without line breaks at its end.
pub(super) fn value(
    name: &str,
    given: &BTreeMap<String, String>,
    server: &BTreeMap<String, String>,
    secrets: Option<&Path>,
) -> Option<String> {
    given.get(name).or_else(|| server.get(name)).cloned().or_else(|| secret(&secrets?.join(name)))
}

/// Names are of letters, digits and `_`, so the path is one in the folder.
fn secret(path: &Path) -> Option<String> {
    let mut text = String::new();
    match File::open(path).and_then(|file| file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text)) {
        Ok(bytes) if bytes as u64 <= SECRET_BYTES_MAX => Some(text.trim_end_matches(['\r', '\n']).to_owned()),
        Ok(_) => {
            tracing::warn!("{} is no secret: it has more than {SECRET_BYTES_MAX} bytes", path.display());
            None
        }
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!("the secret {} cannot be read: {error}", path.display());
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_is_before_the_servers_and_that_before_secrets() {
        let secrets = tempfile::tempdir().unwrap();
        for name in ["A", "B", "C"] {
            std::fs::write(secrets.path().join(name), "secret\n").unwrap();
        }
        std::fs::write(secrets.path().join("LONG"), vec![b'x'; SECRET_BYTES_MAX as usize + 1]).unwrap();
        let map = |names: &[&str], value: &str| names.iter().map(|n| ((*n).to_owned(), value.to_owned())).collect();
        let (given, server) = (map(&["A"], "given"), map(&["A", "B"], "server"));
        let value = |name| value(name, &given, &server, Some(secrets.path()));
        let values = ["A", "B", "C", "D", "LONG"].map(value);
        assert_eq!(values, [Some("given"), Some("server"), Some("secret"), None, None].map(|v| v.map(str::to_owned)));
    }
}
