//! The configuration of an operator.
//!
//! Guarantees: what does not parse is an error that names the place. Must not know: operators, where the configuration is from.

use std::any::TypeId;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

/// A type that a configuration can be read into: any with `Deserialize` and `JsonSchema`, such as a struct marked
/// `#[config]`. `()` takes none.
pub trait Config: DeserializeOwned + JsonSchema + 'static {}

impl<T: DeserializeOwned + JsonSchema + 'static> Config for T {}

fn is_none<C: Config>() -> bool {
    TypeId::of::<C>() == TypeId::of::<()>()
}

/// Reads a configuration from a JSON object.
pub fn parse<C: Config>(json: &str) -> Result<C, String> {
    if !is_none::<C>() {
        let json = if json.trim().is_empty() { "{}" } else { json };
        return serde_json::from_str(json).map_err(|error| format!("the configuration does not fit: {error}"));
    }
    if !matches!(json.trim(), "" | "{}") {
        return Err(format!("this operator takes no configuration, but was given {json}"));
    }
    // What `()` is read from; no JSON parser gets into a component without configuration this way.
    C::deserialize(serde::de::value::UnitDeserializer::<serde::de::value::Error>::new())
        .map_err(|error| error.to_string())
}

/// The JSON schema of a configuration, empty if there is none.
pub fn schema<C: Config>() -> String {
    if is_none::<C>() {
        return String::new();
    }
    schemars::schema_for!(C).as_value().to_string()
}
