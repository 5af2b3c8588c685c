//! Server-sent events out of bytes as they come. Guarantees: what is kept of an unfinished event is bounded. Must not know where bytes come from,
//! nor what events mean.

/// Bytes of an event that is not complete, its lines included.
pub const EVENT_BYTES_MAX: usize = 1 << 20;

/// An event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerEvent {
    /// Its number, by which a caller says where it has been; empty if it has none.
    pub id: String,
    /// What kind; empty if it does not say.
    pub kind: String,
    /// What it says, its lines joined.
    pub data: String,
}

/// An event, or a line of it, that is longer than [`EVENT_BYTES_MAX`].
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong;

/// Puts lines and events together.
#[derive(Default)]
pub struct Parser {
    /// Of the line that has not ended.
    line: Vec<u8>,
    event: ServerEvent,
}

impl Parser {
    /// Takes what came next; all events that are complete with it.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<ServerEvent>, TooLong> {
        let mut complete = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let kept = self.line.len() + self.event.data.len() + self.event.id.len() + self.event.kind.len();
            if kept + piece.len() > EVENT_BYTES_MAX {
                return Err(TooLong);
            }
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                complete.extend(self.take(&String::from_utf8_lossy(&line)));
            }
        }
        Ok(complete)
    }

    /// Takes a line; the event that it ends, if it ends one.
    fn take(&mut self, line: &str) -> Option<ServerEvent> {
        let line = line.trim_end_matches(['\r', '\n']);
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return (!event.data.is_empty()).then_some(event);
        }
        // A line that begins with a colon is a comment, which keeps the connection open.
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => value.clone_into(&mut self.event.id),
            "event" => value.clone_into(&mut self.event.kind),
            "data" => {
                if !self.event.data.is_empty() {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_the_same_however_their_bytes_come() {
        let stream = ": hello\n\nid: 7\nevent: state\ndata: {\"a\":\ndata: 1}\n\nretry: 5\n\r\nid:8\r\ndata:ü\r\n\r\ndata: unfinished";
        let event =
            |id: &str, kind: &str, data: &str| ServerEvent { id: id.into(), kind: kind.into(), data: data.into() };
        let expected = [event("7", "state", "{\"a\":\n1}"), event("8", "", "ü")];
        for size in 1..=stream.len() {
            let mut parser = Parser::default();
            let pieces = stream.as_bytes().chunks(size);
            let found: Vec<_> = pieces.flat_map(|piece| parser.feed(piece).unwrap()).collect();
            assert_eq!(found, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn what_does_not_end_is_not_kept() {
        for endless in [&b"x"[..], b"data: x\n"] {
            let mut parser = Parser::default();
            let fed = (0..=EVENT_BYTES_MAX).map(|_| parser.feed(endless)).find(Result::is_err);
            assert_eq!(fed, Some(Err(TooLong)));
            assert!(parser.line.len() + parser.event.data.len() <= EVENT_BYTES_MAX);
        }
    }
}
