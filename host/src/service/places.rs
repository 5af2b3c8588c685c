//! Where a job may write: outside the server's own folder, or in its own part of that. Must not know what is written.
use std::{
    ffi::OsString,
    io,
    path::{Component, Path, PathBuf},
};

use super::ServiceError;
use crate::{
    checkpoint::StoreError,
    job::{JobSpec, StateSpec},
};

/// Symbolic links that are followed on the way to one place, as by Linux.
const LINKS_MAX: usize = 40;

/// What of this machine a job may not write, and what of that it may.
pub(super) struct Places {
    /// The server's folder, without symbolic links.
    server: PathBuf,
    /// The job's.
    own: PathBuf,
}

impl Places {
    /// Of a job, by the server's folder and its own.
    pub(super) fn new(server: &Path, own: &Path) -> Result<Places, ServiceError> {
        Ok(Places { server: resolve(server)?, own: resolve(own)? })
    }

    /// Fails if nothing may be written to this file or folder, be it there or not.
    pub(super) fn check(&self, path: &Path) -> Result<(), ServiceError> {
        let resolved = resolve(path)?;
        match resolved.starts_with(&self.server) && !resolved.starts_with(&self.own) {
            true => Err(ServiceError::ServersOwn(path.to_owned())),
            false => Ok(()),
        }
    }

    /// The same for all that a job file names.
    pub(super) fn check_all(&self, spec: &JobSpec) -> Result<(), ServiceError> {
        let state = match &spec.state {
            StateSpec::RocksDb(state) => Some(&*state.directory),
            StateSpec::Memory => None,
        };
        let checkpoints = spec.checkpoints.iter().map(|spec| &*spec.directory);
        let sinks = spec.sinks.values().filter_map(|sink| sink.connector.folder());
        checkpoints.chain(spec.savepoints.as_deref()).chain(state).chain(sinks).try_for_each(|path| self.check(path))
    }
}

/// Where a path leads, whether or not anything is there yet. Links that lead nowhere are followed as well: what is written makes their end.
fn resolve(path: &Path) -> Result<PathBuf, ServiceError> {
    let failed = |error: io::Error| {
        ServiceError::Folder(StoreError::Io { name: path.display().to_string(), what: error.to_string() })
    };
    let mut left = reversed(&std::path::absolute(path).map_err(failed)?);
    let (mut resolved, mut links) = (PathBuf::new(), 0);
    while let Some(part) = left.pop() {
        if part == ".." {
            resolved.pop();
            continue;
        }
        let next = resolved.join(part);
        match next.read_link() {
            Ok(_) if links == LINKS_MAX => return Err(failed(io::Error::other("too many symbolic links"))),
            Ok(target) => {
                links += 1;
                left.extend(reversed(&target));
            }
            Err(_) => resolved = next,
        }
    }
    Ok(resolved)
}

/// The parts of a path, the last first. A root among them begins anew when it is joined.
fn reversed(path: &Path) -> Vec<OsString> {
    path.components().rev().filter(|part| *part != Component::CurDir).map(|part| part.as_os_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::job::parse;

    #[test]
    fn a_job_writes_its_own_part_of_the_servers_folder_and_no_other() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for folder in ["data/jobs/a/savepoints", "data/jobs/b", "data/registry/plugins", "out"] {
            std::fs::create_dir_all(at(folder)).unwrap();
        }
        symlink(at("data"), at("link")).unwrap();
        symlink("../data/registry", at("out/relative")).unwrap();
        symlink(at("data/registry/not-there"), at("out/dangling")).unwrap();
        symlink(at("out"), at("data/jobs/a/outside")).unwrap();
        symlink("loop", at("loop")).unwrap();
        // The server's folder as it is given may have links too.
        let places = Places::new(&at("link/"), &at("link/jobs/a")).unwrap();
        for path in
            ["out/x", "data/jobs/a/savepoints/x", "data/jobs/a/outside/x", "data2", "link/jobs/a/x", "no/../out"]
        {
            places.check(&at(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        }
        for path in [
            "data",
            "data/registry/plugins/x",
            "data/jobs/b/x",
            "data/jobs/a/../b",
            "data/jobs/a/savepoints/../../../registry",
            "link/registry/x",
            "out/relative/plugins/x",
            "out/dangling",
            "out/no/../../data/jobs",
            "data/jobs/a/outside/../data/audit",
        ] {
            let error = places.check(&at(path)).unwrap_err();
            assert_eq!(error.code(), "V0114", "{path}: {error}");
        }
        assert_eq!(places.check(&at("loop/x")).unwrap_err().code(), "V0114");
    }

    #[test]
    fn all_that_a_job_file_names_is_looked_at() {
        let root = tempfile::tempdir().unwrap();
        let own = root.path().join("jobs/a");
        std::fs::create_dir_all(&own).unwrap();
        let places = Places::new(root.path(), &own).unwrap();
        let check = |more: &str, out: &str| {
            let text = format!(
                "name: j\nsources: {{ in: {{ file: {{ path: in }} }} }}\nsinks: {{ out: {{ input: in, file: {{ path: '{out}' }} }} }}\n{more}"
            );
            places.check_all(&parse(&text, "job", &|_| None, &own).unwrap())
        };
        check("checkpoints: { directory: checkpoints, interval: 1s }\nsavepoints: saved\n", "out").unwrap();
        for (more, out) in [
            ("", "../../registry"),
            ("checkpoints: { directory: ../../c, interval: 1s }", "out"),
            ("savepoints: ../b", "out"),
            ("state: { backend: rocksdb, directory: ../b }", "out"),
        ] {
            assert_eq!(check(more, out).unwrap_err().code(), "V0114", "{more} {out}");
        }
    }
}
