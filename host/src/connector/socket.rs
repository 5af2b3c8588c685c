//! Lines from a TCP server, connecting again whenever the connection is lost. What was sent while there was no connection is
//! lost, so nothing can be replayed.
use std::{future::Future, io, pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use serde::{Deserialize, Deserializer, de::Error};
use tokio::{io::AsyncReadExt, net::TcpStream};

use super::{
    BatchLimits, ConnectorError, Opening, ReadStatus, Source, SourceReader,
    lines::{Lines, Nothing, Taken},
    settings::positive_duration,
};
use crate::model::{Clock, RawBatch, SplitPosition};

const CHUNK_BYTES: usize = 64 << 10;

/// How long the server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The shortest time between two warnings that there is no connection.
const WARN_EVERY: Duration = Duration::from_secs(30);

/// `socket: { address: "localhost:9999", reconnect: { initial: 100ms, max: 10s } }`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SocketSource {
    /// `host:port`.
    #[serde(deserialize_with = "address")]
    address: String,
    /// What to do once a connection is lost; `false` takes that for the end. Default: connect again.
    #[serde(default, deserialize_with = "reconnect")]
    reconnect: Reconnect,
}

/// The pause before the second attempt to connect, which doubles with each further one, and the longest one. A random part of
/// it is added, so that many clients do not come back all at once.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Pauses {
    #[serde(deserialize_with = "positive_duration")]
    initial: Duration,
    #[serde(deserialize_with = "positive_duration")]
    max: Duration,
}

impl Default for Pauses {
    fn default() -> Pauses {
        Pauses { initial: Duration::from_millis(100), max: Duration::from_secs(10) }
    }
}

impl Pauses {
    fn iter(self) -> ExponentialBackoff {
        let builder = ExponentialBuilder::default().with_min_delay(self.initial).with_max_delay(self.max);
        builder.without_max_times().with_jitter().build()
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Reconnect {
    /// Whether the end of a connection is the end of the stream.
    never: bool,
    pauses: Pauses,
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let address = String::deserialize(deserializer)?;
    if address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
        return Ok(address);
    }
    Err(D::Error::custom(format!("`address` must be a host and a port, such as `localhost:9999`, not {address:?}")))
}

fn reconnect<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Reconnect, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Setting {
        Switch(bool),
        Pauses(Pauses),
    }
    match Setting::deserialize(deserializer) {
        Ok(Setting::Switch(false)) => Ok(Reconnect { never: true, pauses: Pauses::default() }),
        Ok(Setting::Pauses(pauses)) => Ok(Reconnect { never: false, pauses }),
        Ok(Setting::Switch(true)) | Err(_) => {
            Err(D::Error::custom("`reconnect` must be `false` or durations such as `{ initial: 100ms, max: 10s }`"))
        }
    }
}

impl Source for SocketSource {
    fn parallelism_max(&self) -> Option<usize> {
        Some(1)
    }

    fn can_replay(&self) -> bool {
        false
    }

    fn open(
        &self,
        opening: &Opening,
        _restored: Option<&[SplitPosition]>,
    ) -> Result<Box<dyn SourceReader>, ConnectorError> {
        let &Opening { subtask, ref clock, .. } = opening;
        if subtask > 0 {
            return Ok(Box::new(Nothing));
        }
        Ok(Box::new(SocketReader {
            address: self.address.clone(),
            reconnect: self.reconnect,
            state: State::Waiting(clock.monotonic()),
            pauses: self.reconnect.pauses.iter(),
            warned: None,
            chunk: vec![0; CHUNK_BYTES],
            filled: 0..0,
            lines: Lines::new(&self.address),
            clock: clock.clone(),
        }))
    }
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

enum State {
    /// Connects at this time.
    Waiting(Duration),
    /// Kept from read to read, so that giving up a read does not give up the attempt.
    Connecting(Connecting),
    Connected(TcpStream),
    Ended,
}

struct SocketReader {
    address: String,
    reconnect: Reconnect,
    state: State,
    /// Between attempts to connect.
    pauses: ExponentialBackoff,
    /// When it was last said that there is no connection; absent while there is one.
    warned: Option<Duration>,
    chunk: Vec<u8>,
    /// The part of `chunk` that is still to be taken apart.
    filled: std::ops::Range<usize>,
    lines: Lines,
    clock: Arc<dyn Clock>,
}

impl SocketReader {
    fn connect(&self) -> Connecting {
        let (address, clock) = (self.address.clone(), self.clock.clone());
        Box::pin(async move {
            let timeout = clock.monotonic() + CONNECT_TIMEOUT;
            tokio::select! {
                biased;
                stream = TcpStream::connect(address) => stream,
                () = clock.sleep_until(timeout) => Err(io::ErrorKind::TimedOut.into()),
            }
        })
    }

    fn connected(&mut self, stream: TcpStream) {
        if self.warned.take().is_some() {
            tracing::warn!(message = "connected again", address = self.address);
        }
        self.pauses = self.reconnect.pauses.iter();
        self.state = State::Connected(stream);
    }

    /// Tries again later.
    fn lost(&mut self, why: &str) {
        let now = self.clock.monotonic();
        // Without a greatest number of attempts there always is a next pause.
        let pause = self.pauses.next().unwrap_or(self.reconnect.pauses.max).min(self.reconnect.pauses.max);
        if self.warned.is_none_or(|at| now >= at + WARN_EVERY) {
            tracing::warn!(message = "no connection, trying again", address = self.address, error = why, ?pause);
            self.warned = Some(now);
        }
        self.state = State::Waiting(now + pause);
    }

    /// The connection is over; true if the stream is.
    fn ended(
        &mut self,
        error: Option<&io::Error>,
        into: &mut RawBatch,
        limits: BatchLimits,
    ) -> Result<bool, ConnectorError> {
        match error {
            // The last line may lack its end.
            None => {
                if !self.lines.finish(into, limits)? {
                    return Ok(false);
                }
            }
            Some(_) if self.lines.partial_bytes() > 0 => {
                let bytes = self.lines.partial_bytes();
                tracing::warn!(
                    message = "connection lost within a line, which is dropped",
                    address = self.address,
                    bytes
                );
                self.lines.drop_partial();
            }
            Some(_) => {}
        }
        if self.reconnect.never {
            self.state = State::Ended;
        } else {
            self.lost(&error.map_or("closed by the server".into(), io::Error::to_string));
        }
        Ok(true)
    }
}

#[async_trait]
impl SourceReader for SocketReader {
    async fn read(&mut self, into: &mut RawBatch, limits: BatchLimits) -> Result<ReadStatus, ConnectorError> {
        loop {
            if !self.filled.is_empty() {
                if let Taken::Until(taken) = self.lines.take(&self.chunk[self.filled.clone()], into, limits)? {
                    self.filled.start += taken;
                    return Ok(ReadStatus::More);
                }
                self.filled = 0..0;
            }
            match &mut self.state {
                State::Ended if into.is_empty() => return Ok(ReadStatus::End),
                State::Ended => return Ok(ReadStatus::More),
                State::Waiting(_) | State::Connecting(_) if !into.is_empty() => return Ok(ReadStatus::More),
                State::Waiting(until) => {
                    self.clock.sleep_until(*until).await;
                    self.state = State::Connecting(self.connect());
                }
                State::Connecting(attempt) => match attempt.await {
                    Ok(stream) => self.connected(stream),
                    Err(error) => self.lost(&error.to_string()),
                },
                State::Connected(stream) => {
                    let found = if into.is_empty() {
                        stream.read(&mut self.chunk).await
                    } else {
                        match stream.try_read(&mut self.chunk) {
                            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(ReadStatus::More),
                            found => found,
                        }
                    };
                    match found {
                        Ok(length) if length > 0 => self.filled = 0..length,
                        Ok(_) if !self.ended(None, into, limits)? => return Ok(ReadStatus::More),
                        Ok(_) => {}
                        Err(error) => drop(self.ended(Some(&error), into, limits)?),
                    }
                }
            }
        }
    }

    fn positions(&self) -> Vec<SplitPosition> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;
    use crate::connector::testing::{LIMITS, ManualClock, clock, opening, read_some, records};

    fn source(address: &str, reconnect: &str) -> SocketSource {
        serde_saphyr::from_str(&format!("{{ address: \"{address}\", reconnect: {reconnect} }}")).unwrap()
    }

    #[tokio::test]
    async fn lines_arrive_however_they_are_cut_and_over_several_connections() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap().to_string();
        let mut reader = source(&address, "{ initial: 1ms, max: 2ms }").open(&opening(0, 1, &clock()), None).unwrap();
        let serve = async {
            let (mut first, _) = server.accept().await.unwrap();
            first.set_nodelay(true).unwrap();
            for part in ["one\r", "\ntw", "o\n", "\r\nunfinished"] {
                first.write_all(part.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
            }
            drop(first);
            let (mut second, _) = server.accept().await.unwrap();
            second.write_all(b"again\n").await.unwrap();
            second
        };
        let (found, _open) = tokio::join!(read_some(&mut *reader, 5), serve);
        assert_eq!(found.unwrap(), ["one", "two", "", "unfinished", "again"]);
    }

    #[tokio::test]
    async fn without_reconnecting_the_end_of_the_connection_is_that_of_the_stream() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap().to_string();
        let mut reader = source(&address, "false").open(&opening(0, 2, &clock()), None).unwrap();
        let serve = async { server.accept().await.unwrap().0.write_all(b"a\nb").await.unwrap() };
        let (found, ()) = tokio::join!(read_some(&mut *reader, usize::MAX), serve);
        assert_eq!(found.unwrap(), ["a", "b"]);
        let mut second = source(&address, "false").open(&opening(1, 2, &clock()), None).unwrap();
        assert!(read_some(&mut *second, 1).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_server_may_start_later() {
        // A port that was free a moment ago.
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
        let manual = ManualClock::new();
        let shared: Arc<dyn Clock> = manual.clone();
        let mut reader = source(&address, "{ initial: 1s, max: 4s }").open(&opening(0, 1, &shared), None).unwrap();
        let serve = async {
            // The pause after the first attempt, which nobody took, is waited for, or the attempt is still being made.
            while manual.0.receiver_count() == 0 {
                tokio::task::yield_now().await;
            }
            let server = TcpListener::bind(&address).await.unwrap();
            let pass_time = async {
                loop {
                    manual.advance(Duration::from_millis(100));
                    tokio::task::yield_now().await;
                }
            };
            let mut stream = tokio::select! {
                accepted = server.accept() => accepted.unwrap().0,
                () = pass_time => unreachable!(),
            };
            stream.write_all(b"late\n").await.unwrap();
            (server, stream)
        };
        let (found, _open) = tokio::join!(read_some(&mut *reader, 1), serve);
        assert_eq!(found.unwrap(), ["late"]);
    }

    #[tokio::test]
    async fn reads_given_up_lose_nothing() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap().to_string();
        let mut reader = source(&address, "false").open(&opening(0, 1, &clock()), None).unwrap();
        let serve = async {
            let mut stream = server.accept().await.unwrap().0;
            for i in 0..2000 {
                stream.write_all(format!("{i}\n").as_bytes()).await.unwrap();
            }
        };
        let read = async {
            let (mut raw, mut found) = (RawBatch::default(), Vec::new());
            loop {
                raw.clear();
                let status = tokio::select! {
                    biased;
                    status = reader.read(&mut raw, LIMITS) => Some(status.unwrap()),
                    () = tokio::task::yield_now() => None,
                };
                found.extend(records(&raw));
                if status == Some(ReadStatus::End) {
                    return found;
                }
            }
        };
        let (found, ()) = tokio::join!(read, serve);
        assert_eq!(found, (0..2000).map(|i| i.to_string()).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_line_too_long_is_an_error() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap().to_string();
        let mut reader = source(&address, "false").open(&opening(0, 1, &clock()), None).unwrap();
        let serve = async { drop(server.accept().await.unwrap().0.write_all(&vec![b'x'; 2 << 20]).await) };
        let read = async {
            let error = read_some(&mut *reader, 1).await.unwrap_err();
            drop(reader);
            error
        };
        let (error, ()) = tokio::join!(read, serve);
        assert_eq!((error.place, error.retry), (format!("{address}:1"), false));
    }
}
