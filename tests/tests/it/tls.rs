//! A server with a certificate and with trusted keys, and the command line as its caller.
use std::{
    fs,
    io::Read,
    net::TcpStream,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use sha2::{Digest, Sha256};
use wasmill_tests::kafka::Certificates;

use super::{
    jobs,
    remote::{command, done, fails},
    server::Server,
};

/// The longest wait for something that is to happen: long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn openssl(directory: &Path, arguments: &[&str]) -> Vec<u8> {
    let Output { status, stdout, stderr } =
        Command::new("openssl").args(arguments).current_dir(directory).output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    stdout
}

/// A key as `docs/api.md` has it made, and what signs with it.
fn key(directory: &Path, name: &str) -> impl Fn(&[u8]) -> Vec<u8> {
    let (private, public) = (format!("{name}.pem"), format!("{name}.pub"));
    openssl(directory, &["genpkey", "-algorithm", "ed25519", "-out", &private]);
    openssl(directory, &["pkey", "-in", &private, "-pubout", "-out", &public]);
    let directory = directory.to_owned();
    move |bytes| {
        fs::write(directory.join("digest"), Sha256::digest(bytes)).unwrap();
        openssl(&directory, &["pkeyutl", "-sign", "-inkey", &private, "-rawin", "-in", "digest"])
    }
}

#[test]
fn a_signed_plugin_is_pushed_over_tls_and_no_other_is_taken() {
    let (certificates, directory) = (Certificates::new(), tempfile::tempdir().unwrap());
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (sign, sign_otherwise) = (key(directory.path(), "trusted"), key(directory.path(), "other"));
    let digest: String = Sha256::digest("secret").iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(path("tokens"), format!("{digest} ann operator\n")).unwrap();
    let both = certificates.server().display().to_string();
    let server = Server::start(&[
        "--tls-certificate",
        &both,
        "--tls-key",
        &both,
        "--tokens",
        &path("tokens"),
        "--require-signature",
        &path("trusted.pub"),
    ]);
    assert!(server.url().starts_with("https://127.0.0.1:"), "{}", server.url());
    // Whoever does not begin with the handshake loses the connection.
    let mut silent = TcpStream::connect(server.url().strip_prefix("https://").unwrap()).unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();

    let plugin = jobs::plugin("word-count");
    let bytes = fs::read(&plugin).unwrap();
    fs::write(path("signature"), sign(&bytes)).unwrap();
    fs::write(path("otherwise"), sign_otherwise(&bytes)).unwrap();
    let authority = certificates.authority().display().to_string();
    let run = |arguments: &[&str]| {
        let arguments = [arguments, &["--ca-certificate", &authority]].concat();
        command(&server, Some("secret"), &arguments).output().unwrap()
    };
    fails(&run(&["plugin", "push", &plugin]), 3, &["[R0102]"]);
    fails(&run(&["plugin", "push", &plugin, "--signature", &path("otherwise")]), 3, &["[R0102]"]);
    assert_eq!(done(&run(&["plugin", "list"])).lines().count(), 1);
    let pushed = done(&run(&["plugin", "push", &plugin, "--signature", &path("signature")]));
    assert!(pushed.starts_with("word-count@1.0.0 sha256:"), "{pushed}");
    assert_eq!(done(&run(&["plugin", "list"])).lines().count(), 2);
    // Nobody else trusts the certificate, and there is no way around TLS.
    fails(&command(&server, Some("secret"), &["plugin", "list"]).output().unwrap(), 1, &["[K0102]"]);
    let plain = server.url().replace("https", "http");
    fails(&run(&["plugin", "list", "--server", &plain]), 1, &["[K010"]);

    assert_eq!(silent.read(&mut [0]).expect("it is closed"), 0);
}
