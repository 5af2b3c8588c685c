//! A closed WASI, for components whose language insists on one. Guarantees: there are no files, no network, no arguments and no
//! environment; time and randomness are those of the call unless the job grants others; what is written to stdout and stderr is logged;
//! whatever else is called is a trap that says what there is not. A component without WASI has nothing of it.
mod functions;
mod state;

use semver::Version;
use wasmtime::{
    Engine,
    component::{Component, Linker, ResourceType, types::ComponentItem},
};

use self::functions::{
    Descriptor, Error, InputStream, Other, OutputStream, Pollable, TerminalInput, TerminalOutput, define_function,
};
pub use self::state::Grants;
pub(super) use self::state::{Refused, Stream, Wasi};
use super::{error::LoadError, guest::GuestState};

/// Functions, resources and types of WASI that a component may import, all interfaces and their versions together. WASI 0.2 has fewer than
/// a thousand.
const ITEMS_MAX: usize = 4096;

/// What a component may want of the outside, and the packages that give it.
const CAPABILITIES: [(&str, &[&str]); 3] =
    [("clocks", &["clocks"]), ("randomness", &["random"]), ("network", &["sockets", "http"])];

/// `package/interface` of an import that is of WASI 0.2, such as `clocks/wall-clock`.
pub(super) fn interface(import: &str) -> Option<&str> {
    let (interface, version) = import.strip_prefix("wasi:")?.split_once('@')?;
    let version = Version::parse(version).ok()?;
    ((version.major, version.minor) == (0, 2) && version.pre.is_empty()).then_some(interface)
}

/// What a component with these imports may want of the outside.
pub(super) fn capabilities(imports: &[String]) -> Vec<&'static str> {
    let packages: Vec<&str> = imports.iter().filter_map(|import| Some(interface(import)?.split_once('/')?.0)).collect();
    let wanted = CAPABILITIES.iter().filter(|(_, by)| by.iter().any(|package| packages.contains(package)));
    wanted.map(|(capability, _)| *capability).collect()
}

/// Defines all that a component imports of WASI, under the names and versions it asks for.
pub(super) fn define(engine: &Engine, component: &Component, linker: &mut Linker<GuestState>) -> Result<(), LoadError> {
    let failed = |error: wasmtime::Error| LoadError::Invalid(format!("{error:#}"));
    let (mut resources, mut items) = (Vec::new(), 0);
    for (import, item) in component.component_type().imports(engine) {
        let (Some(interface), ComponentItem::ComponentInstance(instance)) = (interface(import), item.ty) else {
            continue;
        };
        let mut into = linker.instance(import).map_err(failed)?;
        for (name, item) in instance.exports(engine) {
            items += 1;
            if items > ITEMS_MAX {
                let what = format!("the component imports more than {ITEMS_MAX} functions and types of WASI");
                return Err(LoadError::Invalid(what));
            }
            match item.ty {
                ComponentItem::ComponentFunc(_) => {
                    define_function(&mut into, import, interface, name).map_err(failed)?
                }
                // One that was seen before is that of another interface, used here.
                ComponentItem::Resource(resource) if !resources.contains(&resource) => {
                    resources.push(resource);
                    into.resource(name, resource_type(name), |_, _| Ok(())).map_err(failed)?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn resource_type(name: &str) -> ResourceType {
    match name {
        "input-stream" => ResourceType::host::<InputStream>(),
        "output-stream" => ResourceType::host::<OutputStream>(),
        "pollable" => ResourceType::host::<Pollable>(),
        "error" => ResourceType::host::<Error>(),
        "descriptor" => ResourceType::host::<Descriptor>(),
        "terminal-input" => ResourceType::host::<TerminalInput>(),
        "terminal-output" => ResourceType::host::<TerminalOutput>(),
        _ => ResourceType::host::<Other>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn released_versions_of_wasi_0_2_are_known() {
        assert_eq!(interface("wasi:clocks/wall-clock@0.2.0"), Some("clocks/wall-clock"));
        assert_eq!(interface("wasi:io/streams@0.2.11"), Some("io/streams"));
        for other in [
            "wasi:clocks/wall-clock",
            "wasi:clocks/wall-clock@0.3.0",
            "wasi:clocks/wall-clock@1.2.0",
            "wasi:clocks/wall-clock@0.2.0-rc-2023-11-10",
            "acme:clocks/wall-clock@0.2.0",
        ] {
            assert_eq!(interface(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_imported_says_what_is_wanted() {
        let wanted =
            |imports: &[&str]| capabilities(&imports.iter().map(|import| (*import).into()).collect::<Vec<_>>());
        assert!(wanted(&["wasi:io/poll@0.2.0", "wasmill:operator/logging@0.1.0"]).is_empty());
        assert_eq!(wanted(&["wasi:http/types@0.2.3", "wasi:sockets/tcp@0.2.0"]), ["network"]);
        let all = ["wasi:sockets/tcp@0.2.0", "wasi:random/insecure@0.2.0", "wasi:clocks/wall-clock@0.2.0"];
        assert_eq!(wanted(&all), ["clocks", "randomness", "network"]);
    }
}
