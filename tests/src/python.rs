//! Virtual environments of Python with a package from PyPI, in the target directory. Guarantees: one is made once for all test
//! processes, and again when another version is wanted. Must not know what the packages are for.
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::guests::{cache, locked, run};

/// Where the programs of an environment are that has this `package==version`.
pub fn environment(name: &str, package: &str) -> PathBuf {
    let cache = cache();
    let _lock = locked(&cache.join(format!("{name}.lock")));
    let environment = cache.join(name);
    let stamp = environment.join("installed");
    if fs::read_to_string(&stamp).ok().as_deref() != Some(package) {
        let need = "tests need Python 3.10 or newer with `venv` (Debian: apt-get install python3 python3-venv)";
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment), need);
        let mut pip = Command::new(environment.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check", package]);
        run(&mut pip, &format!("{package} is installed from PyPI: is the network there?"));
        fs::write(&stamp, package).expect("write the stamp");
    }
    environment.join("bin")
}

/// What a script prints, run by the `python` of an environment.
pub fn output(environment: &Path, script: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(environment.join("python"));
    let output = run(command.arg(script).args(arguments), &format!("{} is to say why", script.display()));
    String::from_utf8(output.stdout).expect("it prints UTF-8")
}
