//! Showing credentials to a broker.
use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    error::ParseResponseErrorCode,
    messages::{SaslAuthenticateRequest, SaslHandshakeRequest},
    protocol::StrBytes,
};
use rsasl::prelude::{Mechname, SASLClient, SASLConfig};

use super::{connection::Connection, error::CallError, security::Credentials};

/// Steps of an exchange; those known have two.
const STEPS_MAX: usize = 8;

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
    let config = SASLConfig::with_credentials(None, credentials.user.clone(), credentials.password.clone());
    let config = config.map_err(|e| refused(e.to_string()))?;
    let mechanism = Mechname::parse(credentials.mechanism.as_bytes()).map_err(|e| refused(e.to_string()))?;
    let mut session = SASLClient::new(config).start_suggested(&[mechanism]).map_err(|e| refused(e.to_string()))?;
    let mut challenge: Option<Bytes> = None;
    for _ in 0..STEPS_MAX {
        let mut ours = Vec::new();
        let state = session.step(challenge.as_deref(), &mut ours).map_err(|e| refused(e.to_string()))?;
        if state.has_sent_message() {
            let request = SaslAuthenticateRequest::default().with_auth_bytes(ours.into());
            let answer = connection.call(&request).await?;
            if let Some(error) = answer.error_code.err() {
                return Err(no(&address, error, answer.error_message.as_deref()));
            }
            challenge = Some(answer.auth_bytes);
        }
        if state.is_finished() {
            return Ok(());
        }
    }
    Err(refused("it asks again and again".to_owned()))
}

fn no(address: &str, error: ResponseError, message: Option<&str>) -> CallError {
    let address = address.to_owned();
    match error {
        ResponseError::SaslAuthenticationFailed => {
            let message = message.unwrap_or("it does not say why");
            let what = format!("refuses the credentials: {message}; check `sasl.username` and `sasl.password`");
            CallError::Credentials { address, what }
        }
        error => CallError::Refused { of: address, error, message: message.map(str::to_owned) },
    }
}
