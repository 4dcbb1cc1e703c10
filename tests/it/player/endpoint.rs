//! A small endpoint over real sockets with its own decrypting side, which answers as its test tells it.

use std::sync::{Arc, LazyLock, Mutex};

use aes_gcm::AesGcm;
use aes_gcm::aead::consts::U16;
use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::aes::Aes128;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rsa::PrivateKey;
use rsa::pkcs8::{EncodePublicKey as _, LineEnding};
use serde_json::Value;
use sha2::Sha256;

static KEY: LazyLock<PrivateKey> = LazyLock::new(|| PrivateKey::new(&mut rand::rng(), 2048).expect("a key"));

/// How to answer one request.
pub enum Reply {
    /// Sealed rightly with this status.
    Sealed(u16, Value),
    /// As it is: status, content type, body.
    Plain(u16, &'static str, Vec<u8>),
}

impl From<Value> for Reply {
    fn from(value: Value) -> Self {
        Self::Sealed(200, value)
    }
}

type Script = Arc<dyn Fn(usize, &Value) -> Reply + Send + Sync>;

/// A running endpoint.
pub struct Endpoint {
    pub address: String,
    pub requests: Arc<Mutex<Vec<Value>>>,
}

pub fn public_key_pem() -> String {
    KEY.to_public_key().to_public_key_pem(LineEnding::LF).expect("a PEM")
}

impl Endpoint {
    /// Answers every request by `script`, which gets the request's index and plaintext (null if it does not open).
    pub async fn start(script: impl Fn(usize, &Value) -> Reply + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}/flows/booking", listener.local_addr().expect("an address"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (script, seen): (Script, _) = (Arc::new(script), Arc::clone(&requests));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, seen) = (Arc::clone(&script), Arc::clone(&seen));
                tokio::spawn(async move {
                    let service =
                        service_fn(move |request| answer(request, Arc::clone(&script), Arc::clone(&seen)));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, requests }
    }
}

async fn answer(
    request: Request<Incoming>,
    script: Script,
    seen: Arc<Mutex<Vec<Value>>>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    let opened = open(&body);
    let plaintext = opened.as_ref().map(|(_, _, request)| request.clone()).unwrap_or_default();
    let index = {
        let mut seen = seen.lock().expect("no panic while held");
        seen.push(plaintext.clone());
        seen.len() - 1
    };
    let (status, content_type, body) = match script(index, &plaintext) {
        Reply::Plain(status, content_type, body) => (status, content_type, body),
        Reply::Sealed(status, value) => {
            let (key, iv, _) = opened.expect("only an opened request is answered sealed");
            let inverted = iv.map(|byte| byte ^ 0xff);
            let sealed = AesGcm::<Aes128, U16>::new(&key.into())
                .encrypt(&inverted.into(), value.to_string().as_bytes())
                .expect("sealed");
            (status, "text/plain", STANDARD.encode(sealed).into_bytes())
        }
    };
    let response = Response::builder().status(status).header("content-type", content_type);
    Ok(response.body(Full::new(Bytes::from(body))).expect("a response"))
}

fn open(body: &[u8]) -> Option<([u8; 16], [u8; 16], Value)> {
    let envelope: Value = serde_json::from_slice(body).ok()?;
    let member = |name: &str| STANDARD.decode(envelope.get(name)?.as_str()?).ok();
    let key: [u8; 16] = KEY
        .oaep_decrypt_with_rng::<Sha256, _>(&mut rand::rng(), &member("encrypted_aes_key")?)
        .ok()?
        .try_into()
        .ok()?;
    let iv: [u8; 16] = member("initial_vector")?.try_into().ok()?;
    let plaintext = AesGcm::<Aes128, U16>::new(&key.into())
        .decrypt(&iv.into(), member("encrypted_flow_data")?.as_slice())
        .ok()?;
    Some((key, iv, serde_json::from_slice(&plaintext).ok()?))
}
