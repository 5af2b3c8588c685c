//! How connectors' settings are written down: durations such as `200ms`, sizes such as `128MiB`.
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer, de::Error};

/// A duration with its unit.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|e| {
        D::Error::custom(format!(
            "{text:?} is no duration such as `200ms` or `1h` (roll.every, poll, reconnect, linger): {e}"
        ))
    })
}

/// A duration with its unit, longer than nothing.
pub fn positive_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let found = duration(deserializer)?;
    if found.is_zero() { Err(D::Error::custom("this duration must be more than 0")) } else { Ok(found) }
}

/// The same, for a setting without a default.
pub fn some_positive_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    positive_duration(deserializer).map(Some)
}

/// A number of bytes of at least 1, with or without a unit.
pub fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Size {
        Bytes(u64),
        Text(String),
    }
    let bytes = match Size::deserialize(deserializer)? {
        Size::Bytes(bytes) => bytes,
        Size::Text(text) => {
            let size: Result<ByteSize, _> = text.parse();
            size.map_err(|e| D::Error::custom(format!("{text:?} is no size such as `128MiB`: {e}")))?.as_u64()
        }
    };
    if bytes == 0 { Err(D::Error::custom("a size must be at least 1 byte")) } else { Ok(bytes) }
}
