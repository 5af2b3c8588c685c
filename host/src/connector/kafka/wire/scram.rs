//! SCRAM (RFC 5802, RFC 7677) without channel binding, the client's side: shows that we know the password, and that the broker does.
use std::collections::HashMap;

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use sha2::{Digest, Sha256, Sha512, digest::core_api::BlockSizeUser};
use subtle::ConstantTimeEq;

/// How often the password is hashed: less than the first is not safe, and more than the second nobody asks for.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4096..=1_000_000;

/// The header that says that there is no channel binding, and its base64.
const NO_BINDING: &str = "n,,";
const NO_BINDING_BASE64: &str = "biws";

/// An exchange.
pub struct Scram {
    hash: Hash,
    password: String,
    nonce: String,
    /// What we say first, without the header.
    first: String,
}

/// What the broker has to show.
pub struct Proof(Vec<u8>);

#[derive(Clone, Copy)]
enum Hash {
    Sha256,
    Sha512,
}

impl Scram {
    /// `None` if the mechanism is another. Fails for a name or password that would have to be prepared in ways not known here.
    pub fn new(mechanism: &str, user: &str, password: &str) -> Option<Result<Scram, String>> {
        let nonce = [uuid::Uuid::now_v7().simple().to_string(), uuid::Uuid::now_v7().simple().to_string()].concat();
        Scram::with_nonce(mechanism, user, password, nonce)
    }

    fn with_nonce(mechanism: &str, user: &str, password: &str, nonce: String) -> Option<Result<Scram, String>> {
        let hash = match mechanism {
            "SCRAM-SHA-256" => Hash::Sha256,
            "SCRAM-SHA-512" => Hash::Sha512,
            _ => return None,
        };
        let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if !plain(user) || !plain(password) {
            return Some(Err("with SCRAM, `sasl.username` and `sasl.password` must be printable ASCII".to_owned()));
        }
        let first = format!("n={},r={nonce}", user.replace('=', "=3D").replace(',', "=2C"));
        Some(Ok(Scram { hash, password: password.to_owned(), nonce, first }))
    }

    /// What to say first.
    pub fn first(&self) -> Vec<u8> {
        format!("{NO_BINDING}{}", self.first).into_bytes()
    }

    /// What to say to the broker's challenge, and what it has to show then.
    pub fn answer(&self, challenge: &[u8]) -> Result<(Vec<u8>, Proof), String> {
        let challenge = std::str::from_utf8(challenge).map_err(|_| wrong())?;
        let fields = fields(challenge);
        let field = |name| fields.get(name).copied().ok_or_else(wrong);
        let (nonce, salt, iterations) = (field("r")?, field("s")?, field("i")?);
        let salt = BASE64.decode(salt).map_err(|_| wrong())?;
        let iterations: u32 = iterations.parse().map_err(|_| wrong())?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() || !ITERATIONS.contains(&iterations) {
            return Err(wrong());
        }
        let last = format!("c={NO_BINDING_BASE64},r={nonce}");
        let exchange = [self.first.as_str(), challenge, last.as_str()].join(",");
        let (ours, theirs) = match self.hash {
            Hash::Sha256 => proofs::<Sha256>(self.password.as_bytes(), &salt, iterations, exchange.as_bytes()),
            Hash::Sha512 => proofs::<Sha512>(self.password.as_bytes(), &salt, iterations, exchange.as_bytes()),
        };
        Ok((format!("{last},p={}", BASE64.encode(ours)).into_bytes(), Proof(theirs)))
    }
}

impl Proof {
    /// Fails if the broker does not show it.
    pub fn check(&self, last: &[u8]) -> Result<(), String> {
        let shown = std::str::from_utf8(last).ok().and_then(|last| fields(last).get("v").copied().map(str::to_owned));
        let shown = shown.and_then(|shown| BASE64.decode(shown).ok()).unwrap_or_default();
        if bool::from(shown.as_slice().ct_eq(&self.0)) {
            return Ok(());
        }
        Err("it does not know the password itself: it is not the broker it claims to be".to_owned())
    }
}

fn wrong() -> String {
    "its challenge is not one of SCRAM".to_owned()
}

fn fields(text: &str) -> HashMap<&str, &str> {
    text.split(',').filter_map(|field| field.split_once('=')).collect()
}

/// The proofs of client and server.
fn proofs<D: Digest + BlockSizeUser>(
    password: &[u8],
    salt: &[u8],
    iterations: u32,
    exchange: &[u8],
) -> (Vec<u8>, Vec<u8>) {
    let mut block = keyed_hash::<D>(password, &[salt, &1u32.to_be_bytes()]);
    let mut salted = block.clone();
    for _ in 1..iterations {
        block = keyed_hash::<D>(password, &[&block]);
        salted.iter_mut().zip(&block).for_each(|(sum, byte)| *sum ^= byte);
    }
    let client_key = keyed_hash::<D>(&salted, &[b"Client Key"]);
    let signature = keyed_hash::<D>(&D::digest(&client_key), &[exchange]);
    let ours = client_key.iter().zip(signature).map(|(key, byte)| key ^ byte).collect();
    let server_key = keyed_hash::<D>(&salted, &[b"Server Key"]);
    (ours, keyed_hash::<D>(&server_key, &[exchange]))
}

/// HMAC (RFC 2104).
fn keyed_hash<D: Digest + BlockSizeUser>(key: &[u8], message: &[&[u8]]) -> Vec<u8> {
    let mut block = vec![0; D::block_size()];
    if key.len() > block.len() {
        let digest = D::digest(key);
        block[..digest.len()].copy_from_slice(&digest);
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let padded = |byte: u8| block.iter().map(|key| key ^ byte).collect::<Vec<u8>>();
    let mut inner = D::new_with_prefix(padded(0x36));
    message.iter().for_each(|part| inner.update(part));
    D::new_with_prefix(padded(0x5c)).chain_update(inner.finalize()).finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange that RFC 7677 has as an example.
    #[test]
    fn it_is_that_of_the_standard() {
        let nonce = "rOprNGfwEbeRWgbNEkqO".to_owned();
        let scram = Scram::with_nonce("SCRAM-SHA-256", "user", "pencil", nonce).unwrap().unwrap();
        assert_eq!(scram.first(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let challenge = format!("r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        let (answer, proof) = scram.answer(challenge.as_bytes()).unwrap();
        let expected = format!("c=biws,r={nonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        assert_eq!(String::from_utf8(answer).unwrap(), expected);
        proof.check(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap();
        assert!(proof.check(b"v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").is_err());
        assert!(proof.check(b"e=other-error").is_err());
        for wrong in ["", "r=another,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", &challenge.replace("4096", "1")] {
            assert!(scram.answer(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
