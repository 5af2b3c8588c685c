//! The tour of a server that README shows, as the script it is, with the real program.
use std::process::{Command, Stdio};

use wasmill_tests::guests;

#[test]
fn the_tour_goes_as_it_says() {
    let output = Command::new(guests::root().join("examples/live-rules/tour"))
        .env("WASMILL", env!("CARGO_BIN_EXE_wasmill-for-tests"))
        .env("WASMILL_BUILD_DIR", guests::rust_target())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{errors}");
    let mut rest = &*said;
    let steps = [
        "payment-rules",
        r#""rules":"1.0""#,
        "# rules 2.0 beside them",
        "equal",
        "# rules 2.0 take over",
        r#""rules":"2.0""#,
        "# rules 2.1 have a mistake",
        "# and back to 1.0",
        "payment-rules@1.0.0",
        "# the job stops",
        "savepoint",
    ];
    for step in steps {
        let at = rest.find(step).unwrap_or_else(|| panic!("`{step}` is not in:\n{rest}\nof:\n{said}\n{errors}"));
        rest = &rest[at + step.len()..];
    }
}
