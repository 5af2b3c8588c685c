//! How connectors write down positions and committables, which outlive the program that wrote them: a byte for the version, then
//! fields one after the other. What is read is checked; it knows nothing of what the fields mean.
use super::{CONNECTOR_FAILED, ConnectorError};

/// Collects fields.
pub struct Encoding(Vec<u8>);

impl Encoding {
    /// Begins with the version of what follows.
    pub fn new(version: u8) -> Encoding {
        Encoding(vec![version])
    }

    /// Appends a number: eight bytes, little-endian.
    pub fn u64(mut self, value: u64) -> Encoding {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Appends a text: its length in bytes as a number, and its bytes.
    pub fn text(mut self, value: &str) -> Encoding {
        self = self.u64(value.len() as u64);
        self.0.extend_from_slice(value.as_bytes());
        self
    }

    /// The whole.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Takes fields in the order in which they were collected.
pub struct Decoding<'a> {
    /// What it speaks of, for error messages.
    place: &'a str,
    rest: &'a [u8],
}

impl<'a> Decoding<'a> {
    /// Fails if `bytes` are not of this version.
    pub fn new(place: &'a str, bytes: &'a [u8], version: u8) -> Result<Decoding<'a>, ConnectorError> {
        let decoding = Decoding { place, rest: bytes };
        match bytes.split_first() {
            Some((found, rest)) if *found == version => Ok(Decoding { rest, ..decoding }),
            Some((found, _)) => {
                Err(decoding.failed(&format!("it has version {found}, and this program reads {version}")))
            }
            None => Err(decoding.failed("it is empty")),
        }
    }

    /// The next field, a number.
    pub fn u64(&mut self) -> Result<u64, ConnectorError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(|| self.failed("it is cut off"))?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    /// The next field, a text.
    pub fn text(&mut self) -> Result<&'a str, ConnectorError> {
        let length = usize::try_from(self.u64()?).unwrap_or(usize::MAX);
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or_else(|| self.failed("it is cut off"))?;
        self.rest = rest;
        std::str::from_utf8(bytes).map_err(|_| self.failed("it has a text that is none"))
    }

    /// Fails if there is more.
    pub fn finish(self) -> Result<(), ConnectorError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.failed("it is longer than expected")) }
    }

    /// The error that it means nothing.
    pub fn failed(&self, why: &str) -> ConnectorError {
        let what = format!("what the checkpoint says of it cannot be read: {why}");
        ConnectorError { place: self.place.into(), what, retry: false, code: CONNECTOR_FAILED }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_written_is_read() {
        let read = |bytes: &[u8]| {
            let mut decoding = Decoding::new("x", bytes, 3)?;
            let found = (decoding.u64()?, decoding.text()?.to_owned());
            decoding.finish()?;
            Ok::<_, ConnectorError>(found)
        };
        let bytes = Encoding::new(3).u64(u64::MAX - 1).text("aé").finish();
        assert_eq!(read(&bytes).unwrap(), (u64::MAX - 1, "aé".to_owned()));
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length]).is_err());
        }
        assert!(read(&[&bytes[..], b"x"].concat()).unwrap_err().what.contains("longer"));
        assert!(read(&Encoding::new(4).finish()).unwrap_err().what.contains("version 4"));
        assert!(read(&[&bytes[..bytes.len() - 1], b"x"].concat()).unwrap_err().what.contains("text"));
    }
}
