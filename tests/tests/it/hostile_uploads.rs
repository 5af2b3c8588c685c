//! Uploads that are meant to do harm, to the real server: each is refused, in bounded memory, and the server answers as before and can be started
//! again. And that no bytes whatever bring down what looks at them.
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
};

use wasmill::{
    model::SystemClock,
    plugin::{PluginEngine, build::check_bounds},
    registry::{Policy, Registry},
};

use super::{
    jobs, refused,
    server::{Server, json, problem},
    uploads::{fine_with, names, push},
};

const GIB: u64 = 1 << 30;

/// Bytes of the process that are not the server's doing: the program, and the one plugin that is taken.
const BASE: u64 = 256 << 20;
/// What a plugin has while it is tried: its memory and tables, and as much again while a table grows.
const GUEST: u64 = 2 * (256 << 20);
/// What the compiler has for all that it may be given.
const COMPILER: u64 = 2 << 30;

/// A number as WebAssembly has it.
fn number(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A component with one module of so many functions that all have this body, without its `end`.
fn component(functions: usize, body: &[u8]) -> Vec<u8> {
    let section = |id: u8, contents: &[u8]| [&[id], &*number(contents.len()), contents].concat();
    let body = [&*number(body.len() + 1), body, &[0x0b]].concat();
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        // `func()`
        section(1, &[1, 0x60, 0, 0]),
        section(3, &[number(functions), vec![0; functions]].concat()),
        section(10, &[number(functions), body.repeat(functions)].concat()),
    ];
    [b"\0asm\x0d\0\x01\0".to_vec(), section(1, &module.concat())].concat()
}

/// Sends a request of 1 GiB for as long as it is taken; how many bytes were, and the answer.
fn stream(server: &Server, headers: &str, begin: &str, chunked: bool) -> (u64, String) {
    let address = server.url().strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(address).unwrap();
    let coding = if chunked { "Transfer-Encoding: chunked".to_owned() } else { format!("Content-Length: {GIB}") };
    write!(connection, "POST /v1/plugins HTTP/1.1\r\nHost: {address}\r\n{coding}\r\n{headers}\r\n\r\n").unwrap();
    let mut sent = 0;
    let mut piece = begin.as_bytes().to_vec();
    // Who asks to be told to go on waits for it.
    while sent < GIB && !headers.contains("Expect") {
        piece.resize(64 << 10, b'x');
        let framed = match chunked {
            true => [format!("{:x}\r\n", piece.len()).as_bytes(), &piece, b"\r\n"].concat(),
            false => std::mem::take(&mut piece),
        };
        // The server has closed the connection.
        if connection.write_all(&framed).is_err() {
            break;
        }
        sent += framed.len() as u64;
        piece.clear();
    }
    let mut answer = Vec::new();
    // It ends with an error if the server has not read everything.
    let _ = connection.read_to_end(&mut answer);
    (sent, String::from_utf8(answer).unwrap())
}

#[tokio::test]
async fn a_gibibyte_is_refused_before_it_has_come() {
    // What the server takes to be a file, what it reads so that it is heard, and what is under way.
    const LIMIT: u64 = 64 << 20;
    const READ: u64 = 16 << 20;
    const UNDER_WAY: u64 = 32 << 20;
    let server = Server::start(&[]);
    let raw = "Content-Type: application/wasm";
    let form = "Content-Type: multipart/form-data; boundary=XX";
    let field = "--XX\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n";
    let waits = format!("{raw}\r\nExpect: 100-continue");
    for (name, headers, begin, chunked, sent_max, status, code) in [
        ("raw, announced", raw, "", false, READ, 413, "R0101"),
        ("raw, in chunks", raw, "", true, LIMIT + READ, 413, "R0101"),
        ("a form, announced", form, field, false, READ, 413, "R0101"),
        ("a form, in chunks", form, field, true, LIMIT + READ, 413, "R0101"),
        ("a form without a field", form, "", true, READ, 400, "R0209"),
        ("a form with an endless header", form, field.trim_end(), true, READ, 400, "R0209"),
        ("announced, and not sent before it is asked for", &waits, "", false, 0, 413, "R0101"),
    ] {
        let (sent, answer) = stream(&server, headers, begin, chunked);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(code), "{name}: {answer}");
        assert!(sent <= sent_max + UNDER_WAY, "{name}: {sent} bytes were sent");
        assert_eq!(server.get("/health/live").await.status(), 204, "{name}");
        let peak = server.memory_peak();
        // Nothing but pieces of the body is in memory.
        assert!(peak < BASE, "{name}: {peak} bytes of memory");
    }
    assert_eq!(server.path("registry/uploads").read_dir().unwrap().count(), 0);
    let good = fs::read(jobs::plugin("word-count")).unwrap();
    assert_eq!(push(&server, good).await.status(), 201);
}

/// Components that the compiler is given just so, each dear to it in another way, and the same with one function too many.
fn dear() -> [(&'static str, Vec<u8>, Vec<u8>); 3] {
    // Two locals; their sum goes into one of them, again and again.
    let sums = [&[1, 2, 0x7f][..], &[0x20, 0, 0x20, 1, 0x6a, 0x21, 0].repeat(9990)].concat();
    // Many locals that all change in a loop, which begins again from many places.
    let (locals, again) = (1000, 997);
    let mut loops = [&[1][..], &number(locals), &[0x7f, 0x03, 0x40]].concat();
    for local in (0..locals).map(number) {
        loops.extend([&[0x20][..], &local, &[0x20, 0, 0x6a, 0x21], &local].concat());
    }
    loops.extend([&[0x20, 0, 0x0d, 0].repeat(again)[..], &[0x0b]].concat());
    [("functions", 100_000, vec![0]), ("code", 400, sums), ("branches", 15, loops)]
        .map(|(name, count, body)| (name, component(count, &body), component(count + 1, &body)))
}

#[tokio::test]
async fn hostile_uploads_are_refused_and_survived() {
    let server = Server::start(&[]);
    let good = fs::read(jobs::plugin("word-count")).unwrap();
    assert_eq!(push(&server, good.clone()).await.status(), 201);
    let wat = |text: &str| wat::parse_str(text).unwrap();
    let start = |body: &str| fine_with(&format!("(func $f (loop {body} (br 0))) (start $f)"));
    let (tables, grow) = (0..99)
        .map(|table| {
            let grow = format!("(drop (table.grow $t{table} (ref.null func) (i32.const 65536)))");
            (format!("(table $t{table} 1 funcref)"), grow)
        })
        .collect::<(String, String)>();
    let tables = fine_with(&format!("{tables} (func $f (loop {grow} (br 0))) (start $f)"));
    let versions: String =
        (0..900).map(|patch| format!(r#"(export "wasmill:operator/transform@0.1.{patch}" (instance $i))"#)).collect();
    let instance = |what: &str| wat(&format!("(component (instance $i) {what})"));
    let functions: String = (0..5000).map(|at| format!(r#"(export "f{at}" (func))"#)).collect();
    let much_wasi = format!(r#"(component (import "wasi:cli/environment@0.2.0" (instance {functions})))"#);
    let elements = format!("(component (core module (func $f) (elem func {})))", "$f ".repeat(100_001));
    let memory = "it wanted more memory than `limits.memory`, 256.0 MiB";
    let hostile = [
        ("nothing", Vec::new(), "P0202", "no component"),
        ("no wasm", b"#!/bin/sh\necho hello\n".to_vec(), "P0202", "no component"),
        ("truncated", good[..good.len() / 2].to_vec(), "P0202", "cut off"),
        ("a core module", wat("(module)"), "P0202", "no component"),
        ("a core module with a component type", refused::fine_with(""), "P0202", "no component"),
        ("elements", wat(&elements), "R0103", "elements of tables"),
        ("another world", instance(r#"(export "acme:home/phone" (instance $i))"#), "P0203", "exports no operator"),
        (
            "another contract",
            instance(r#"(export "wasmill:operator/transform@0.2.0" (instance $i))"#),
            "P0203",
            "version 0.2.0 of the contract",
        ),
        ("many versions of one kind", instance(&versions), "P0203", "`transform` of several versions"),
        ("a later WASI", wat(r#"(component (import "wasi:sockets/tcp@0.3.0" (instance)))"#), "P0204", "wasi:sockets"),
        ("much of WASI", wat(&much_wasi), "P0202", "4096"),
        ("another host", wat(r#"(component (import "acme:home/phone" (instance)))"#), "P0204", "acme:home"),
        ("a loop", start(""), "P0205", "it ran longer"),
        ("memory", start("(drop (memory.grow (i32.const 256)))"), "P0205", memory),
        ("tables", tables, "P0205", memory),
    ];
    let mut refused = 0;
    for (name, bytes, code, said) in hostile {
        let problem = json(push(&server, bytes).await, 422).await;
        let detail = problem["detail"].as_str().unwrap();
        assert!(problem["code"] == code && detail.contains(said), "{name}: {problem}");
        assert_eq!(server.get("/health/live").await.status(), 204, "{name}");
        let peak = server.memory_peak();
        assert!(peak < BASE + GUEST, "{name}: {peak} bytes of memory");
        refused += 1;
    }

    for (name, within, beyond) in dear() {
        assert!(check_bounds(&within).is_ok(), "{name}");
        // Nobody wants to wait for this one.
        if name == "branches" {
            assert!(check_bounds(&beyond).is_err(), "{name}");
            continue;
        }
        // It is compiled, and then no operator; or that has taken too long.
        for (bytes, codes) in [(beyond, ["R0103"; 2]), (within, ["P0203", "R0104"])] {
            let code = problem(push(&server, bytes).await, 422).await;
            assert!(codes.contains(&&*code), "{name}: {code}");
            let peak = server.memory_peak();
            assert!(peak < BASE + COMPILER, "{name}: {peak} bytes of memory");
            refused += 1;
        }
    }

    // What was there still is, and nothing else, also for the next server.
    let log = server.json("/v1/audit").await;
    assert_eq!(log["items"].as_array().unwrap().len(), 1 + refused);
    let server = Server::start_in(server.kill(), &[]);
    assert_eq!(names(&server.json("/v1/plugins").await), ["word-count@1.0.0"]);
    assert_eq!(server.get("/v1/plugins/word-count/1.0.0/component").await.bytes().await.unwrap(), good);
    assert_eq!(push(&server, fine_with("")).await.status(), 201);
}

#[tokio::test]
async fn no_mutation_brings_down_what_looks_at_it() {
    const MUTATIONS: usize = 400;
    // What an upload may be refused for; anything else is a fault of the registry.
    let refusals = ["P0202", "P0203", "P0204", "P0205", "P0207", "R0103", "R0105", "R0111", "R0112"];
    let directory = tempfile::tempdir().unwrap();
    let open = || {
        let engine = PluginEngine::new(None).unwrap();
        Registry::open(directory.path(), engine, Policy::default(), Arc::new(SystemClock::new())).unwrap()
    };
    let registry = open();
    let component = fine_with("");
    let mut random = fastrand::Rng::with_seed(7);
    let mut refused = 0;
    for _ in 0..MUTATIONS {
        let mut bytes = component.clone();
        for _ in 0..random.usize(1..=4) {
            let at = random.usize(8..bytes.len());
            match random.u8(..4) {
                0 => bytes[at] ^= 1 << random.u8(..8),
                1 => bytes[at] = random.u8(..),
                2 => drop(bytes.drain(at..(at + random.usize(1..16)).min(bytes.len()))),
                _ => {
                    let from = random.usize(8..bytes.len());
                    let piece = bytes[from..(from + random.usize(1..32)).min(bytes.len())].to_vec();
                    bytes.splice(at..at, piece);
                }
            }
        }
        let mut upload = registry.begin().await.unwrap();
        upload.write(&bytes).await.unwrap();
        if let Err(error) = registry.push(upload, None, "ann").await {
            let text = error.to_string();
            assert!(refusals.contains(&&text[1..6]), "{text}");
            refused += 1;
        }
    }
    assert!(refused > MUTATIONS / 2, "{refused} of {MUTATIONS}");
    assert_eq!(open().list(None, None, MUTATIONS), registry.list(None, None, MUTATIONS));
    assert_eq!(directory.path().join("uploads").read_dir().unwrap().count(), 0);
}
