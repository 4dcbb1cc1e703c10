//! What a phone does with a file that is picked: encrypts it under keys of its own and puts it on Meta's servers; the answer
//! then says where it is and how it opens (WhatsApp Flows reference 5.1).
//!
//! It shares nothing with the server's side, so that the two can only agree by both following the specification.

use std::path::PathBuf;
use std::time::Duration;

use aes::Aes256;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeEncrypt as _, KeyIvInit as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use url::Url;
use uuid::Builder;

use crate::client::{self, AddressPolicy, Client, Method, Request, StatusCode};

/// How long one upload may take.
const DEADLINE: Duration = Duration::from_secs(60);
/// Where files lie whose upload nobody asked for: nothing is there.
const NOWHERE: &str = "https://mmg.whatsapp.net/v/t62.invalid/";

/// Why a file could not be picked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is neither a path nor a name with content.
    #[error("a file is given by its path, or by its name and its content")]
    Shape,
    /// It cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The address to upload to is not one.
    #[error("files cannot be uploaded to this address")]
    Address,
    /// The upload failed.
    #[error("the file could not be uploaded")]
    Upload(#[source] client::Error),
    /// The upload was refused.
    #[error("the file's upload was answered with {0}")]
    Status(StatusCode),
}

/// A file that is picked.
pub struct Picked {
    /// Its name.
    pub name: String,
    /// Its content.
    pub content: Vec<u8>,
}

impl Picked {
    /// Reads `{"path"}`, or `{"file_name", "content"}` with the content in base64; `None` for an object that was uploaded
    /// already.
    pub fn read(item: &Value) -> Result<Option<Self>, Error> {
        let text = |name: &str| item.get(name).and_then(Value::as_str);
        if text("cdn_url").is_some() {
            return Ok(None);
        }
        if let Some(path) = text("path").map(PathBuf::from) {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let content = std::fs::read(&path).map_err(|source| Error::Read { path, source })?;
            return Ok(Some(Self { name, content }));
        }
        let (name, content) = text("file_name").zip(text("content")).ok_or(Error::Shape)?;
        let content = STANDARD.decode(content).map_err(|_| Error::Shape)?;
        Ok(Some(Self { name: name.to_owned(), content }))
    }
}

/// A file as it lies on Meta's servers, and what opens it.
pub struct Encrypted {
    /// The ciphertext and the tag behind it.
    pub file: Vec<u8>,
    /// `encryption_metadata`.
    pub metadata: Value,
}

impl Encrypted {
    /// Encrypts under fresh keys.
    pub fn of(content: &[u8]) -> Self {
        let (iv, key, hmac_key): ([u8; 16], [u8; 32], [u8; 32]) = rand::random();
        Self::under(content, iv, key, hmac_key)
    }

    /// Encrypts under these keys.
    pub fn under(content: &[u8], iv: [u8; 16], key: [u8; 32], hmac_key: [u8; 32]) -> Self {
        let mut file = vec![0; content.len() + 16];
        file[..content.len()].copy_from_slice(content);
        let cipher = cbc::Encryptor::<Aes256>::new(&key.into(), &iv.into());
        let length = cipher
            .encrypt_padded::<Pkcs7>(&mut file, content.len())
            .expect("there is room for the padding")
            .len();
        file.truncate(length);
        let mut hmac = Hmac::<Sha256>::new_from_slice(&hmac_key).expect("HMAC takes a key of any length");
        hmac.update(&iv);
        hmac.update(&file);
        file.extend(hmac.finalize().into_bytes().into_iter().take(10));
        let metadata = json!({
            "encrypted_hash": STANDARD.encode(Sha256::digest(&file)),
            "iv": STANDARD.encode(iv),
            "encryption_key": STANDARD.encode(key),
            "hmac_key": STANDARD.encode(hmac_key),
            "plaintext_hash": STANDARD.encode(Sha256::digest(content)),
        });
        Self { file, metadata }
    }
}

/// Encrypts a file, puts it below `servers` and gives the media object of the answer. Without servers it goes nowhere.
pub async fn upload(picked: Picked, servers: Option<&Url>) -> Result<Value, Error> {
    let media_id = Builder::from_random_bytes(rand::random()).into_uuid().to_string();
    let Encrypted { file, metadata } = Encrypted::of(&picked.content);
    let cdn_url = match servers {
        None => format!("{NOWHERE}{media_id}"),
        Some(servers) => {
            let mut url = servers.clone();
            url.path_segments_mut().map_err(|()| Error::Address)?.pop_if_empty().push(&media_id);
            let mut request = Request::new(Method::PUT, url.clone(), file, Instant::now() + DEADLINE);
            // Servers that are tried out stand on the same machine.
            request.policy = AddressPolicy::AllowPrivateNetwork;
            let response = Client::new().request(request).await.map_err(Error::Upload)?;
            if !response.status.is_success() {
                return Err(Error::Status(response.status));
            }
            url.into()
        }
    };
    Ok(json!({
        "media_id": media_id,
        "cdn_url": cdn_url,
        "file_name": picked.name,
        "encryption_metadata": metadata,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_sealed_as_in_the_reference() {
        // WhatsApp Flows reference, 10.
        let bytes = |first: u8| std::array::from_fn::<u8, 32, _>(|at| first + u8::try_from(at).expect("32"));
        let iv = std::array::from_fn(|at| 0x40 + u8::try_from(at).expect("16"));
        let sealed = Encrypted::under(b"hello flows media", iv, bytes(0), bytes(0x20));
        let expected = "Y1GNWJ8bejWa6fvVh6oqu/fGblQgij5SyVUbMrs4AXrgsbkptMeFeh38";
        assert_eq!(STANDARD.encode(&sealed.file), expected);
        assert_eq!(sealed.metadata["encrypted_hash"], "vOzylgkoGzrMnu1GayJNHV30gr/kP+zRYATBApFe3GQ=");
        assert_eq!(sealed.metadata["plaintext_hash"], "FrBvSuTdHz6ojFDQGc0Le7IbTnLcyqK0yM2o2kEua58=");
    }
}
