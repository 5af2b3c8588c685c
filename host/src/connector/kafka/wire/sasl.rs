//! Showing credentials to a broker: a name and a password (RFC 4616), or that we know the password (SCRAM, [`Scram`]).
use kafka_protocol::{
    ResponseError,
    error::ParseResponseErrorCode,
    messages::{SaslAuthenticateRequest, SaslHandshakeRequest},
    protocol::StrBytes,
};

use super::{connection::Connection, error::CallError, scram::Scram, security::Credentials};

/// Logs in.
pub async fn authenticate(connection: &mut Connection, credentials: &Credentials) -> Result<(), CallError> {
    let address = connection.address().to_owned();
    let refused = |what: String| CallError::Credentials { address: address.clone(), what };
    let handshake = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(credentials.mechanism));
    let answer = connection.call(&handshake).await?;
    if let Some(error) = answer.error_code.err() {
        let known: Vec<&str> = answer.mechanisms.iter().map(|mechanism| &**mechanism).collect();
        return Err(refused(format!("{error} It takes {}, not {}", known.join(", "), credentials.mechanism)));
    }
    let Credentials { mechanism, user, password } = credentials;
    let Some(scram) = Scram::new(mechanism, user, password) else {
        return say(connection, format!("\0{user}\0{password}").into_bytes()).await.map(drop);
    };
    let scram = scram.map_err(refused)?;
    let challenge = say(connection, scram.first()).await?;
    let (answer, proof) = scram.answer(&challenge).map_err(refused)?;
    let last = say(connection, answer).await?;
    proof.check(&last).map_err(refused)
}

/// Sends bytes of the mechanism, and gives those that come back.
async fn say(connection: &mut Connection, bytes: Vec<u8>) -> Result<Vec<u8>, CallError> {
    let request = SaslAuthenticateRequest::default().with_auth_bytes(bytes.into());
    let answer = connection.call(&request).await?;
    let address = connection.address().to_owned();
    match answer.error_code.err() {
        None => Ok(answer.auth_bytes.to_vec()),
        Some(ResponseError::SaslAuthenticationFailed) => {
            let message = answer.error_message.as_deref().unwrap_or("it does not say why");
            let what = format!("refuses the credentials: {message}; check `sasl.username` and `sasl.password`");
            Err(CallError::Credentials { address, what })
        }
        Some(error) => {
            let message = answer.error_message.as_deref().map(str::to_owned);
            Err(CallError::Refused { of: address, error, message })
        }
    }
}
