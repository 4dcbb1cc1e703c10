//! Private keys as operators have them: every PEM that OpenSSL writes for an RSA key, as files and environments mangle it.

use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt as _, KeyInit, KeyIvInit as _};
use md5::{Digest as _, Md5};
use pkcs8::der::asn1::{AnyRef, OctetStringRef, SequenceRef};
use pkcs8::der::{self, Decode as _, SecretDocument, SliceReader};
use pkcs8::pkcs5;
use pkcs8::spki::AlgorithmIdentifierRef;
use pkcs8::{EncryptedPrivateKeyInfoRef, ObjectIdentifier, PrivateKeyInfoRef};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::hex;
use super::key::{self, KeyError};

/// RFC 8017, appendix C.
pub(super) const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// The first private key in the text, as DER of PKCS#8.
pub(super) fn read(text: &str, passphrase: Option<&SecretString>) -> Result<SecretDocument, KeyError> {
    let blocks = pem::parse_many(restored(text).as_bytes()).map_err(|_| KeyError::Damaged)?;
    if blocks.is_empty() && text.contains("-----BEGIN ") {
        return Err(KeyError::Damaged);
    }
    let Some(at) = blocks.iter().position(|block| block.tag().ends_with("PRIVATE KEY")) else {
        return Err(blocks.first().map_or(KeyError::NotPem, |block| without_private_key(block.tag())));
    };
    let block = blocks.into_iter().nth(at).ok_or(KeyError::NotPem)?;
    let (tag, dek_info) = (block.tag().to_owned(), block.headers().get("DEK-Info").map(str::to_owned));
    let contents = Zeroizing::new(block.into_contents());
    match (tag.as_str(), dek_info) {
        ("PRIVATE KEY", _) => pkcs8_document(&contents).ok_or(KeyError::Damaged),
        ("ENCRYPTED PRIVATE KEY", _) => decrypt_pkcs8(&contents, passphrase),
        ("RSA PRIVATE KEY", None) => from_pkcs1(&contents).ok_or(KeyError::Damaged),
        ("RSA PRIVATE KEY", Some(dek_info)) => {
            let passphrase = passphrase.ok_or(KeyError::PassphraseMissing)?;
            let pkcs1 = decrypt_traditional(&dek_info, &contents, passphrase)?;
            // One wrong passphrase in 256 leaves padding that looks right around nonsense.
            from_pkcs1(&pkcs1).ok_or(KeyError::WrongPassphrase)
        }
        ("OPENSSH PRIVATE KEY", _) => Err(KeyError::OpenSsh),
        _ => Err(KeyError::NotRsa),
    }
}

/// Undoes what happens to line breaks on the way through an environment variable or another system. Everything around the
/// PEM, such as quotes, is skipped by the parser anyway.
fn restored(text: &str) -> Zeroizing<String> {
    let text = Zeroizing::new(text.replace("\\r", "\r"));
    let text = Zeroizing::new(text.replace("\\n", "\n"));
    let text = Zeroizing::new(text.replace("\r\n", "\n"));
    let mut lines = Zeroizing::new(String::with_capacity(text.len() + 1));
    for line in text.split(['\n', '\r']) {
        lines.push_str(line.trim());
        lines.push('\n');
    }
    lines
}

fn without_private_key(tag: &str) -> KeyError {
    match tag {
        "PUBLIC KEY" | "RSA PUBLIC KEY" => KeyError::PublicKey,
        "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => KeyError::Certificate,
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => KeyError::CertificateRequest,
        "EC PARAMETERS" => KeyError::NotRsa,
        _ => KeyError::NotPem,
    }
}

fn pkcs8_document(der: &[u8]) -> Option<SecretDocument> {
    let info = PrivateKeyInfoRef::try_from(der).ok()?;
    SecretDocument::try_from(&info).ok()
}

fn from_pkcs1(der: &[u8]) -> Option<SecretDocument> {
    key::modulus(der)?;
    let algorithm = AlgorithmIdentifierRef { oid: RSA_ENCRYPTION, parameters: Some(AnyRef::NULL) };
    let info = PrivateKeyInfoRef::new(algorithm, OctetStringRef::new(der).ok()?);
    SecretDocument::try_from(&info).ok()
}

fn decrypt_pkcs8(der: &[u8], passphrase: Option<&SecretString>) -> Result<SecretDocument, KeyError> {
    let encrypted = EncryptedPrivateKeyInfoRef::try_from(der).map_err(|_| {
        if is_encrypted_somehow(der) { KeyError::UnsupportedEncryption } else { KeyError::Damaged }
    })?;
    let passphrase = passphrase.ok_or(KeyError::PassphraseMissing)?;
    encrypted.decrypt(passphrase.expose_secret()).map_err(|error| match error {
        pkcs8::Error::EncryptedPrivateKey(
            pkcs5::Error::UnsupportedAlgorithm { .. } | pkcs5::Error::NoPbes1CryptSupport,
        ) => KeyError::UnsupportedEncryption,
        _ => KeyError::WrongPassphrase,
    })
}

/// Whether this is an `EncryptedPrivateKeyInfo` (RFC 5958, section 3), by whatever algorithm.
fn is_encrypted_somehow(der: &[u8]) -> bool {
    let decode = || -> der::Result<()> {
        let info: &SequenceRef = AnyRef::from_der(der)?.decode_as()?;
        let mut info = SliceReader::new(info.as_bytes())?;
        AlgorithmIdentifierRef::decode(&mut info)?;
        <&OctetStringRef>::decode(&mut info)?;
        Ok(())
    };
    decode().is_ok()
}

/// OpenSSL's older kind: CBC, the key from the passphrase by MD5, the IV in `DEK-Info` (RFC 1421 4.6.1.3).
fn decrypt_traditional(
    dek_info: &str,
    ciphertext: &[u8],
    passphrase: &SecretString,
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    use aes_gcm::aes::{Aes128, Aes192, Aes256};

    let (cipher, iv) = dek_info.split_once(',').ok_or(KeyError::Damaged)?;
    let decrypt = match cipher.trim() {
        "DES-EDE3-CBC" => decrypt_cbc::<des::TdesEde3, 24, 8>,
        "AES-128-CBC" => decrypt_cbc::<Aes128, 16, 16>,
        "AES-192-CBC" => decrypt_cbc::<Aes192, 24, 16>,
        "AES-256-CBC" => decrypt_cbc::<Aes256, 32, 16>,
        _ => return Err(KeyError::UnsupportedEncryption),
    };
    decrypt(iv.trim(), ciphertext, passphrase.expose_secret().as_bytes())
}

fn decrypt_cbc<C, const KEY_BYTES: usize, const BLOCK_BYTES: usize>(
    iv: &str,
    ciphertext: &[u8],
    passphrase: &[u8],
) -> Result<Zeroizing<Vec<u8>>, KeyError>
where
    C: BlockCipherDecrypt + KeyInit,
{
    let iv: [u8; BLOCK_BYTES] = hex::decode(iv).ok_or(KeyError::Damaged)?;
    let key = bytes_to_key::<KEY_BYTES>(passphrase, &iv);
    let decryptor =
        cbc::Decryptor::<C>::new_from_slices(&*key, &iv).map_err(|_| KeyError::UnsupportedEncryption)?;
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    let plaintext_bytes =
        decryptor.decrypt_padded::<Pkcs7>(&mut buffer).map_err(|_| KeyError::WrongPassphrase)?.len();
    buffer.truncate(plaintext_bytes);
    Ok(buffer)
}

/// OpenSSL's `EVP_BytesToKey` with MD5, one round, and the IV's first 8 bytes as salt.
fn bytes_to_key<const KEY_BYTES: usize>(passphrase: &[u8], iv: &[u8]) -> Zeroizing<[u8; KEY_BYTES]> {
    let salt = iv.first_chunk::<8>().expect("no block cipher here has a shorter IV");
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    let mut digest = Zeroizing::new([0u8; 16]);
    for (index, part) in key.chunks_mut(16).enumerate() {
        let previous: &[u8] = if index == 0 { &[] } else { &*digest };
        *digest =
            Md5::new().chain_update(previous).chain_update(passphrase).chain_update(salt).finalize().into();
        for (byte, derived) in part.iter_mut().zip(digest.iter()) {
            *byte = *derived;
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_breaks_are_restored_whatever_became_of_them() {
        for text in ["a\nb\n\nc", "a\r\nb\r\n\r\nc", r"a\nb\n\nc", r"a\r\nb\r\n\r\nc", "  a\n\tb \n  \n c"] {
            assert_eq!(restored(text).trim_end(), "a\nb\n\nc", "{text:?}");
        }
    }

    // `openssl enc -des-ede3-cbc -md md5 -k passphrase -S 0102030405060708 -P`
    #[test]
    fn the_key_of_a_passphrase_is_the_one_openssl_derives() {
        let key = bytes_to_key::<24>(b"passphrase", &[1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(hex::encode(&*key), "1e484203cc6c24a583c6d045d97877c60e3081317b231be1");
    }
}
