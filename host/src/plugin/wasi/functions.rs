//! Each function of WASI that a guest may call: what a closed guest needs is answered here, everything else is a trap that names the
//! function. Must not know how imports are found.
use wasmtime::{
    StoreContextMut,
    component::{ComponentType, LinkerInstance, Lower, Resource},
};

use super::{
    super::guest::GuestState,
    state::{MILLISECOND_NS, Refused, Stream, WRITE_BYTES_MAX},
};

/// The end of standard input, or what comes with a body that nobody has.
pub(super) enum InputStream {}
/// Standard output or error, by its number as a [`Stream`].
pub(super) enum OutputStream {}
/// What is ready at once, as everything is that can be waited for.
pub(super) enum Pollable {}
/// Why a stream has failed, which none does.
pub(super) enum Error {}
/// A file, of which there are none.
pub(super) enum Descriptor {}
/// A terminal, of which there are none.
pub(super) enum TerminalInput {}
/// A terminal, of which there are none.
pub(super) enum TerminalOutput {}
/// What nobody ever has.
pub(super) enum Other {}

/// `streams.stream-error`.
#[derive(ComponentType, Lower)]
#[component(variant)]
enum StreamError {
    #[allow(dead_code, reason = "nothing fails in this way, but the type has to be the interface's")]
    #[component(name = "last-operation-failed")]
    LastOperationFailed(Resource<Error>),
    #[component(name = "closed")]
    Closed,
}

/// `wall-clock.datetime`.
#[derive(ComponentType, Lower)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

type Answer<T> = wasmtime::Result<(T,)>;
type Wrote = Answer<Result<(), StreamError>>;
type Nothing = wasmtime::Result<()>;

/// Instances of the one thing there is of a kind of resource.
const ONLY: u32 = 0;

/// Defines the function of an interface, such as `now` of `clocks/wall-clock`, which the component imports as `import`.
pub(super) fn define_function(
    linker: &mut LinkerInstance<'_, GuestState>,
    import: &str,
    interface: &str,
    name: &str,
) -> wasmtime::Result<()> {
    match (interface, name) {
        ("cli/environment", "get-environment") => {
            linker.func_wrap(name, |_, ()| -> Answer<Vec<(String, String)>> { Ok((Vec::new(),)) })
        }
        ("cli/environment", "get-arguments") => {
            linker.func_wrap(name, |_, ()| -> Answer<Vec<String>> { Ok((Vec::new(),)) })
        }
        ("cli/environment", "initial-cwd") => linker.func_wrap(name, |_, ()| -> Answer<Option<String>> { Ok((None,)) }),
        ("cli/stdin", "get-stdin") => linker.func_wrap(name, |_, ()| Ok((Resource::<InputStream>::new_own(ONLY),))),
        ("cli/stdout", "get-stdout") => output(linker, name, Stream::Out),
        ("cli/stderr", "get-stderr") => output(linker, name, Stream::Error),
        ("cli/terminal-stdin", "get-terminal-stdin") => {
            linker.func_wrap(name, |_, ()| -> Answer<Option<Resource<TerminalInput>>> { Ok((None,)) })
        }
        ("cli/terminal-stdout", "get-terminal-stdout") | ("cli/terminal-stderr", "get-terminal-stderr") => {
            linker.func_wrap(name, |_, ()| -> Answer<Option<Resource<TerminalOutput>>> { Ok((None,)) })
        }
        ("clocks/wall-clock", "now") => {
            linker.func_wrap(name, |store, ()| Ok((datetime(store.data().wasi.wall_clock_ms()),)))
        }
        ("clocks/wall-clock", "resolution") => linker.func_wrap(name, |_, ()| Ok((datetime(1),))),
        ("clocks/monotonic-clock", "now") => {
            linker.func_wrap(name, |store, ()| Ok((store.data().wasi.monotonic_clock_ns(),)))
        }
        ("clocks/monotonic-clock", "resolution") => linker.func_wrap(name, |_, ()| Ok((MILLISECOND_NS,))),
        ("filesystem/preopens", "get-directories") => {
            linker.func_wrap(name, |_, ()| -> Answer<Vec<(Resource<Descriptor>, String)>> { Ok((Vec::new(),)) })
        }
        ("random/random", "get-random-bytes") | ("random/insecure", "get-insecure-random-bytes") => {
            linker.func_wrap(name, |mut store: StoreContextMut<'_, GuestState>, (length,): (u64,)| {
                Ok((store.data_mut().wasi.random_bytes(length)?,))
            })
        }
        ("random/random", "get-random-u64") | ("random/insecure", "get-insecure-random-u64") => linker
            .func_wrap(name, |mut store: StoreContextMut<'_, GuestState>, ()| {
                Ok((store.data_mut().wasi.random_u64()?,))
            }),
        ("random/insecure-seed", "insecure-seed") => {
            linker.func_wrap(name, |mut store: StoreContextMut<'_, GuestState>, ()| {
                let wasi = &mut store.data_mut().wasi;
                Ok(((wasi.random_u64()?, wasi.random_u64()?),))
            })
        }
        ("io/poll", _) => poll(linker, import, interface, name),
        ("io/streams", _) => streams(linker, import, interface, name),
        _ => trap(linker, import, interface, name),
    }
}

fn poll(
    linker: &mut LinkerInstance<'_, GuestState>,
    import: &str,
    interface: &str,
    name: &str,
) -> wasmtime::Result<()> {
    match name {
        "[method]pollable.ready" => linker.func_wrap(name, |_, (_,): (Resource<Pollable>,)| Ok((true,))),
        "[method]pollable.block" => linker.func_wrap(name, |_, (_,): (Resource<Pollable>,)| -> Nothing { Ok(()) }),
        "poll" => linker.func_wrap(name, |_, (pollables,): (Vec<Resource<Pollable>>,)| match pollables.len() {
            0 => Err(refused("it polls nothing".to_owned())),
            count => Ok(((0..count as u32).collect::<Vec<_>>(),)),
        }),
        _ => trap(linker, import, interface, name),
    }
}

fn streams(
    linker: &mut LinkerInstance<'_, GuestState>,
    import: &str,
    interface: &str,
    name: &str,
) -> wasmtime::Result<()> {
    type Written = (Resource<OutputStream>, Vec<u8>);
    match name {
        "[method]input-stream.read" | "[method]input-stream.blocking-read" => {
            linker.func_wrap(name, |_, (_, _): (Resource<InputStream>, u64)| -> Answer<Result<Vec<u8>, StreamError>> {
                Ok((Err(StreamError::Closed),))
            })
        }
        "[method]input-stream.skip" | "[method]input-stream.blocking-skip" => {
            linker.func_wrap(name, |_, (_, _): (Resource<InputStream>, u64)| -> Answer<Result<u64, StreamError>> {
                Ok((Err(StreamError::Closed),))
            })
        }
        "[method]input-stream.subscribe" => linker.func_wrap(name, |_, (_,): (Resource<InputStream>,)| ready()),
        "[method]output-stream.subscribe" => linker.func_wrap(name, |_, (_,): (Resource<OutputStream>,)| ready()),
        "[method]output-stream.check-write" => {
            linker.func_wrap(name, |_, (_,): (Resource<OutputStream>,)| -> Answer<Result<u64, StreamError>> {
                Ok((Ok(WRITE_BYTES_MAX as u64),))
            })
        }
        "[method]output-stream.write" | "[method]output-stream.blocking-write-and-flush" => {
            linker.func_wrap(name, |mut store: StoreContextMut<'_, GuestState>, (to, bytes): Written| -> Wrote {
                if bytes.len() > WRITE_BYTES_MAX {
                    return Err(refused(format!(
                        "it writes {} bytes at once, {WRITE_BYTES_MAX} are allowed",
                        bytes.len()
                    )));
                }
                let stream = if to.rep() == Stream::Error as u32 { Stream::Error } else { Stream::Out };
                store.data_mut().written(stream, &bytes);
                Ok((Ok(()),))
            })
        }
        "[method]output-stream.flush" | "[method]output-stream.blocking-flush" => {
            linker.func_wrap(name, |_, (_,): (Resource<OutputStream>,)| -> Wrote { Ok((Ok(()),)) })
        }
        _ => trap(linker, import, interface, name),
    }
}

fn datetime(milliseconds: u64) -> Datetime {
    Datetime { seconds: milliseconds / 1000, nanoseconds: (milliseconds % 1000) as u32 * MILLISECOND_NS as u32 }
}

fn ready() -> Answer<Resource<Pollable>> {
    Ok((Resource::new_own(ONLY),))
}

fn output(linker: &mut LinkerInstance<'_, GuestState>, name: &str, stream: Stream) -> wasmtime::Result<()> {
    linker.func_wrap(name, move |_, ()| Ok((Resource::<OutputStream>::new_own(stream as u32),)))
}

fn trap(
    linker: &mut LinkerInstance<'_, GuestState>,
    import: &str,
    interface: &str,
    name: &str,
) -> wasmtime::Result<()> {
    let why = match interface.split_once('/').map_or(interface, |(package, _)| package) {
        "sockets" | "http" => "no network is granted",
        "filesystem" => "there are no files",
        "clocks" => "an operator cannot wait",
        "cli" if interface == "cli/exit" => "an operator cannot exit",
        _ => "there is no such thing here",
    };
    let what = format!("it called `{import}#{name}`: {why}");
    linker.func_new(name, move |_, _, _, _| Err(refused(what.clone())))
}

fn refused(what: String) -> wasmtime::Error {
    wasmtime::Error::new(Refused(what))
}
