//! Certificates for brokers and servers of tests, made by OpenSSL. Guarantees: nobody but their test trusts them. Must not know what they serve.
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::guests::run;

const ADVICE: &str = "OpenSSL is needed (Debian: apt-get install openssl)";

/// An authority, and the certificate that it has given to 127.0.0.1.
pub struct Certificates(TempDir);

impl Certificates {
    /// Makes them.
    pub fn new() -> Certificates {
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::write(directory.path().join("names"), "subjectAltName=IP:127.0.0.1\n").expect("a file");
        let new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        let own = ["-x509", "-days", "2", "-subj", "/CN=tests", "-keyout", "ca.key", "-out", "ca.pem"];
        openssl(directory.path(), &[&new[..], &own].concat());
        openssl(directory.path(), &[&new[..], &["-subj", "/CN=broker", "-keyout", "key", "-out", "request"]].concat());
        let sign = ["x509", "-req", "-in", "request", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
        openssl(directory.path(), &[&sign[..], &["-days", "2", "-extfile", "names", "-out", "certificate"]].concat());
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).expect("what OpenSSL has made");
        fs::write(directory.path().join("server.pem"), read("key") + &read("certificate")).expect("a file");
        Certificates(directory)
    }

    /// The authority's certificate, PEM.
    pub fn authority(&self) -> PathBuf {
        self.0.path().join("ca.pem")
    }

    /// The private key and the certificate of 127.0.0.1, PEM.
    pub fn server(&self) -> PathBuf {
        self.0.path().join("server.pem")
    }
}

impl Default for Certificates {
    fn default() -> Certificates {
        Certificates::new()
    }
}

fn openssl(directory: &Path, arguments: &[&str]) {
    run(Command::new("openssl").args(arguments).current_dir(directory), ADVICE);
}
