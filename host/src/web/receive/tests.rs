//! Bodies of uploads that nobody's client would send, in pieces of any size.
use std::{convert::Infallible, path::Path, sync::Arc};

use futures::stream;

use super::*;
use crate::{model::SystemClock, plugin::PluginEngine, registry::Policy};

const UPLOAD_BYTES_MAX: u64 = 100_000;

fn registry(directory: &Path) -> Registry {
    let policy = Policy { upload_bytes_max: UPLOAD_BYTES_MAX, ..Policy::default() };
    Registry::open(directory, PluginEngine::new(None).unwrap(), policy, Arc::new(SystemClock::new())).unwrap()
}

/// What becomes of a body in these pieces: the digest of its file, or the status and words of the problem.
async fn receive(
    registry: &Registry,
    media_type: &str,
    pieces: impl Iterator<Item = Vec<u8>> + Send + 'static,
) -> Result<String, (u16, Box<str>)> {
    let body = Body::from_stream(stream::iter(pieces.map(Ok::<_, Infallible>)));
    let request = Request::post("/v1/plugins").header("content-type", media_type).body(body).unwrap();
    let received = plugin(registry, request).await;
    received.map(|upload| upload.digest()).map_err(|problem| (problem.status, problem.detail))
}

const FORM: &str = "multipart/form-data; boundary=XX";
const BEFORE: &str = "--XX\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n";
const AFTER: &str = "\r\n--XX--\r\n";

#[tokio::test]
async fn a_body_that_never_ends_is_read_for_so_long_only() {
    let directory = tempfile::tempdir().unwrap();
    let registry = registry(directory.path());
    let wasm = "application/wasm";
    let header = "--XX\r\nContent-Disposition: form-data; name=\"file\"; x=\"";
    let second = "\r\n--XX\r\nContent-Disposition: form-data; name=\"";
    let (too_large, broken) = ((413, "has more than"), (400, "65536 bytes before the file or after it"));
    for (media_type, begin, (status, said)) in [
        (wasm, String::new(), too_large),
        (FORM, String::new(), broken),
        (FORM, header.into(), broken),
        (FORM, BEFORE.into(), too_large),
        (FORM, format!("{BEFORE}file{second}"), broken),
    ] {
        let read = Arc::new(Mutex::new(0));
        let counted = read.clone();
        let pieces = std::iter::once(begin.clone().into_bytes()).chain(std::iter::repeat(vec![b'x'; 8 << 10]));
        let pieces = pieces.inspect(move |piece| *counted.lock().unwrap() += piece.len() as u64);
        let refused = receive(&registry, media_type, pieces).await.unwrap_err();
        assert!(refused.0 == status && refused.1.contains(said), "{begin}: {refused:?}");
        let read = *read.lock().unwrap();
        // The rest is read so that the caller hears of it.
        assert!((DRAIN_BYTES_MAX..DRAIN_BYTES_MAX + (1 << 20)).contains(&read), "{begin}: {read}");
    }
}

#[tokio::test]
async fn forms_are_read_whatever_their_pieces_and_broken_ones_are_refused() {
    const FORMS: usize = 2000;
    let directory = tempfile::tempdir().unwrap();
    let registry = registry(directory.path());
    let mut random = fastrand::Rng::with_seed(7);
    let mut refused = 0;
    for _ in 0..FORMS {
        // Much of it is what the reader of forms looks for.
        let file: Vec<u8> = (0..random.usize(..200))
            .flat_map(|_| random.choice(["\r\n--X", "-", "\r\n", "x"]).unwrap().bytes())
            .collect();
        let mut body = [BEFORE.as_bytes(), &file, AFTER.as_bytes()].concat();
        let whole = random.bool();
        for _ in 0..if whole { 0 } else { random.usize(1..4) } {
            let at = random.usize(..body.len());
            match random.u8(..3) {
                0 => body[at] = random.u8(..),
                1 => body.truncate(at + 1),
                _ => drop(body.splice(at..at, *b"\r\n--XX\r\n")),
            }
        }
        let mut pieces = Vec::new();
        while !body.is_empty() {
            let rest = body.split_off(random.usize(1..=body.len().min(64)));
            pieces.push(std::mem::replace(&mut body, rest));
        }
        match receive(&registry, FORM, pieces.into_iter()).await {
            Ok(digest) if whole => assert_eq!(digest, crate::plugin::digest(&file)),
            Ok(_) => {}
            Err((status, said)) => {
                assert!(!whole && status == 400, "{status}: {said}");
                refused += 1;
            }
        }
    }
    assert!(refused > FORMS / 4, "{refused} of {FORMS}");
    assert_eq!(directory.path().join("uploads").read_dir().unwrap().count(), 0);
}
