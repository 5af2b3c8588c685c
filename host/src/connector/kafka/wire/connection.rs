//! A connection to a broker: one request at a time, and its answer. Guarantees that no call lasts longer than its time or takes more
//! memory than a frame may have.
use std::{io, sync::Arc, time::Duration};

use bytes::{Buf, BufMut, BytesMut};
use kafka_protocol::{
    messages::{ApiKey, ApiVersionsRequest, RequestHeader, ResponseHeader},
    protocol::{Decodable, Encodable, HeaderVersion, StrBytes},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

use super::{Security, calls::Call, error::CallError, sasl, tls};
use crate::model::Clock;

/// How long a connection may take to be made, credentials included.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// How long a broker may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// Bytes of an answer; the longest are lists of transactions.
const FRAME_BYTES_MAX: usize = 32 << 20;

/// Bytes on the way.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

pub struct Connection {
    address: String,
    stream: Box<dyn Stream>,
    /// What the broker speaks: a call, the oldest and the newest version.
    versions: Vec<(i16, i16, i16)>,
    /// Number of the last request.
    last: i32,
    clock: Arc<dyn Clock>,
}

impl Connection {
    /// Connects, and shows credentials if there are any.
    pub async fn open(address: &str, security: &Security, clock: &Arc<dyn Clock>) -> Result<Connection, CallError> {
        let open = async {
            let failed = |error| CallError::Connection { address: address.to_owned(), error };
            let stream = TcpStream::connect(address).await.map_err(failed)?;
            stream.set_nodelay(true).map_err(failed)?;
            let stream: Box<dyn Stream> = match &security.tls {
                Some(tls) => tls::connect(stream, address, tls).await?,
                None => Box::new(stream),
            };
            let mut connection = Connection {
                address: address.to_owned(),
                stream,
                versions: vec![(ApiKey::ApiVersions as i16, 0, 0)],
                last: 0,
                clock: clock.clone(),
            };
            connection.learn_versions().await?;
            if let Some(credentials) = &security.credentials {
                sasl::authenticate(&mut connection, credentials).await?;
            }
            Ok(connection)
        };
        within(&**clock, CONNECT_TIME, address, open).await
    }

    /// Where to.
    pub fn address(&self) -> &str {
        &self.address
    }

    async fn learn_versions(&mut self) -> Result<(), CallError> {
        let answer = self.call(&ApiVersionsRequest::default()).await?;
        self.versions = answer.api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect();
        // Brokers behind some proxies leave out what is only for the beginning of a connection.
        for key in [ApiKey::SaslHandshake as i16, ApiKey::SaslAuthenticate as i16] {
            if !self.versions.iter().any(|(known, ..)| *known == key) {
                self.versions.push((key, 0, 1));
            }
        }
        Ok(())
    }

    /// Makes a call. After an error of the connection or the protocol nothing more can be asked through it.
    pub async fn call<C: Call>(&mut self, request: &C) -> Result<C::Answer, CallError> {
        let clock = self.clock.clone();
        let address = self.address.clone();
        within(&*clock, ANSWER_TIME, &address, self.exchange(request)).await
    }

    async fn exchange<C: Call>(&mut self, request: &C) -> Result<C::Answer, CallError> {
        let version = self.version::<C>()?;
        self.last = self.last.wrapping_add(1);
        let frame = self.frame(request, version).map_err(|e| self.confused(&e.to_string()))?;
        let sent = async {
            self.stream.write_all(&frame).await?;
            self.stream.flush().await
        };
        sent.await.map_err(|e| self.broken(e))?;
        let length = self.stream.read_u32().await.map_err(|e| self.broken(e))? as usize;
        if length > FRAME_BYTES_MAX {
            return Err(self.confused(&format!("an answer of {length} bytes")));
        }
        let mut answer = BytesMut::zeroed(length);
        self.stream.read_exact(&mut answer).await.map_err(|e| self.broken(e))?;
        let mut answer = answer.freeze();
        let header = ResponseHeader::decode(&mut answer, C::Answer::header_version(version))
            .map_err(|e| self.confused(&e.to_string()))?;
        if header.correlation_id != self.last {
            return Err(self.confused("an answer to something else"));
        }
        let decoded = C::Answer::decode(&mut answer, version).map_err(|e| self.confused(&e.to_string()))?;
        if answer.has_remaining() {
            return Err(self.confused("an answer that is longer than it should be"));
        }
        Ok(decoded)
    }

    /// The newest version that both speak.
    fn version<C: Call>(&self) -> Result<i16, CallError> {
        let (oldest, newest) = C::VERSIONS;
        let spoken = self.versions.iter().find(|(key, ..)| *key == C::KEY as i16);
        let common = spoken.map(|(_, min, max)| (oldest.max(*min), newest.min(*max)));
        match common {
            Some((oldest, newest)) if oldest <= newest => Ok(newest),
            _ => Err(self.confused(&format!("it does not know {:?}: brokers from Kafka 3.0 on do", C::KEY))),
        }
    }

    fn frame<C: Call>(&self, request: &C, version: i16) -> Result<BytesMut, Box<dyn std::error::Error + Send + Sync>> {
        let mut frame = BytesMut::new();
        frame.put_u32(0);
        RequestHeader::default()
            .with_request_api_key(C::KEY as i16)
            .with_request_api_version(version)
            .with_correlation_id(self.last)
            .with_client_id(Some(StrBytes::from_static_str("wasmill")))
            .encode(&mut frame, C::header_version(version))?;
        request.encode(&mut frame, version)?;
        let length = u32::try_from(frame.len() - 4)?;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        Ok(frame)
    }

    fn broken(&self, error: io::Error) -> CallError {
        CallError::Connection { address: self.address.clone(), error }
    }

    fn confused(&self, what: &str) -> CallError {
        CallError::Protocol { address: self.address.clone(), what: what.to_owned() }
    }
}

/// Gives up after `time`.
async fn within<T>(
    clock: &dyn Clock,
    time: Duration,
    address: &str,
    call: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    let timeout = clock.sleep_until(clock.monotonic() + time);
    tokio::select! {
        biased;
        result = call => result,
        () = timeout => {
            let what = format!("no answer within {}", humantime::format_duration(time));
            let error = io::Error::new(io::ErrorKind::TimedOut, what);
            Err(CallError::Connection { address: address.to_owned(), error })
        }
    }
}
