//! The server's side of SCRAM-SHA-256, written down from RFC 5802 without the client's.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::{backend::message, server::PASSWORD};

const SALT: &[u8] = b"salt and pepper";
const ROUNDS: u32 = 64;

/// What has been said.
#[derive(Default)]
pub(crate) struct Scram {
    client: Vec<String>,
    server_first: String,
}

impl Scram {
    /// Takes the body of a `p` message. Only those of SCRAM are text with commas.
    pub(crate) fn hear(&mut self, body: &[u8]) {
        self.client.push(String::from_utf8_lossy(body).into_owned());
    }

    fn said(&self, at: usize) -> &str {
        self.client.get(at).expect("the client has said it")
    }

    fn client_first_bare(&self) -> &str {
        self.said(0).split_once("n,,").expect("no channel binding").1
    }

    /// AuthenticationSASLContinue with this many rounds.
    pub(crate) fn continues_with(&mut self, rounds: u32) -> Vec<u8> {
        let nonce = self.client_first_bare().split_once("r=").expect("a nonce").1;
        self.server_first = format!("r={nonce}Server,s={},i={rounds}", BASE64.encode(SALT));
        message(b'R', &[b"\0\0\0\x0b", self.server_first.as_bytes()].concat())
    }

    pub(crate) fn continues(&mut self) -> Vec<u8> {
        self.continues_with(ROUNDS)
    }

    /// AuthenticationSASLFinal, once the client has proved that it knows the password.
    pub(crate) fn proves(&self) -> Vec<u8> {
        let (without_proof, proof) = self.said(1).rsplit_once(",p=").expect("a proof");
        let told = format!("{},{},{without_proof}", self.client_first_bare(), self.server_first);
        let salted = salted();
        let client_key = hmac(&salted, b"Client Key");
        let stored_key: [u8; 32] = Sha256::digest(client_key).into();
        let signature = hmac(&stored_key, told.as_bytes());
        let expected: Vec<_> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        assert_eq!(BASE64.decode(proof).unwrap(), expected, "the client's proof");
        let signature = hmac(&hmac(&salted, b"Server Key"), told.as_bytes());
        let text = format!("v={}", BASE64.encode(signature));
        message(b'R', &[b"\0\0\0\x0c", text.as_bytes()].concat())
    }
}

fn hmac(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(data);
    mac.finalize().into_bytes().into()
}

fn salted() -> [u8; 32] {
    let mut last = hmac(PASSWORD.as_bytes(), &[SALT, &1_u32.to_be_bytes()].concat());
    let mut sum = last;
    for _ in 1..ROUNDS {
        last = hmac(PASSWORD.as_bytes(), &last);
        sum.iter_mut().zip(last).for_each(|(sum, byte)| *sum ^= byte);
    }
    sum
}
