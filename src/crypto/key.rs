//! The endpoint's RSA key pair: made, read, written, and named by its public half.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use pkcs8::der::asn1::{AnyRef, SequenceRef, UintRef};
use pkcs8::der::{Decode as _, Document, SecretDocument, SliceReader};
use pkcs8::{LineEnding, PrivateKeyInfoRef};
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};
use zeroize::Zeroizing;

use super::{hex, pem};

/// Meta takes no other size (WhatsApp Flows reference 2.1, 2.5).
const KEY_BITS: usize = 2048;
pub(super) const KEY_BYTES: usize = KEY_BITS / 8;
/// The exchange's cipher is AES-128.
pub(super) const AES_KEY_BYTES: usize = 16;

/// Why a text is not a private key that can be used, in the words of whoever has to put it right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No `-----BEGIN`, or of something else.
    #[error("this is not a private key in PEM: it must begin with \"-----BEGIN … PRIVATE KEY-----\"")]
    NotPem,
    /// The half that belongs to Meta.
    #[error("this is the public key, which is registered with Meta; the private key is needed here")]
    PublicKey,
    /// A certificate holds a public key.
    #[error("this is a certificate; the private key is needed here")]
    Certificate,
    /// A request for a certificate holds a public key.
    #[error("this is a certificate request; the private key is needed here")]
    CertificateRequest,
    /// OpenSSH's own format.
    #[error("this key is in the format of OpenSSH; convert it with: ssh-keygen -p -m PKCS8 -f KEYFILE")]
    OpenSsh,
    /// Elliptic curves and others.
    #[error("this is not an RSA key; make one with: openssl genrsa -out private.pem 2048")]
    NotRsa,
    /// Too short for safety, or too long for Meta.
    #[error("the key has {bits} bits; Meta takes RSA keys of 2048 bits only")]
    Size {
        /// How many it has.
        bits: usize,
    },
    /// It is encrypted.
    #[error("the key is encrypted, but no passphrase is given")]
    PassphraseMissing,
    /// It is encrypted with another one.
    #[error("the passphrase does not open the key")]
    WrongPassphrase,
    /// A cipher or key derivation of the past.
    #[error(
        "the key is encrypted in an outdated way; convert it with: openssl pkcs8 -topk8 -in private.pem -out new.pem"
    )]
    UnsupportedEncryption,
    /// Cut off, changed, or pasted incompletely.
    #[error("the key is damaged: part of it is missing or changed")]
    Damaged,
}

/// Names a key pair: the first 8 bytes of the SHA-256 of its public half (DER of SPKI), in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; 8]);

/// Text that is not a key's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key's id has 16 hexadecimal digits")]
pub struct InvalidKeyId;

impl KeyId {
    fn of(spki: &[u8]) -> Self {
        let digest = Sha256::digest(spki);
        Self(std::array::from_fn(|index| digest[index]))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "KeyId({self})")
    }
}

impl FromStr for KeyId {
    type Err = InvalidKeyId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        hex::decode(text).map(Self).ok_or(InvalidKeyId)
    }
}

/// An RSA key pair of 2048 bits.
pub struct PrivateKey {
    key: PrivateDecryptingKey,
    oaep: OaepPrivateDecryptingKey,
    modulus: [u8; KEY_BYTES],
    id: KeyId,
    public_pem: String,
}

impl PrivateKey {
    /// Makes a new one, which takes a tenth of a second.
    pub fn generate() -> Self {
        let key = PrivateDecryptingKey::generate(KeySize::Rsa2048)
            .expect("only the system's randomness or memory can fail, and without them nothing can go on");
        let pkcs8: Pkcs8V1Der<'_> = key.as_der().expect("a key in memory can be written");
        Self::from_pkcs8(pkcs8.as_ref()).expect("a new key is a good one")
    }

    /// Reads PKCS#1 and PKCS#8, plain or encrypted with a passphrase (WhatsApp Flows reference 1.2), and puts up with lost line
    /// breaks and things around the PEM. A passphrase for a plain key is not used.
    pub fn from_pem(text: &str, passphrase: Option<&SecretString>) -> Result<Self, KeyError> {
        Self::from_pkcs8(pem::read(text, passphrase)?.as_bytes())
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let info = PrivateKeyInfoRef::try_from(der).map_err(|_| KeyError::Damaged)?;
        if info.algorithm.oid != pem::RSA_ENCRYPTION {
            return Err(KeyError::NotRsa);
        }
        let modulus = modulus(info.private_key.as_bytes()).ok_or(KeyError::Damaged)?;
        let modulus = <[u8; KEY_BYTES]>::try_from(modulus)
            .ok()
            .filter(|modulus| modulus[0] & TOP_BIT != 0)
            .ok_or_else(|| KeyError::Size { bits: bits(modulus) })?;
        // This also checks that the numbers of the key fit together.
        let key = PrivateDecryptingKey::from_pkcs8(der).map_err(|_| KeyError::Damaged)?;
        let oaep = OaepPrivateDecryptingKey::new(key.clone()).map_err(|_| KeyError::Damaged)?;
        let spki: PublicKeyX509Der<'_> = key.public_key().as_der().map_err(|_| KeyError::Damaged)?;
        let public_pem = Document::try_from(spki.as_ref())
            .and_then(|spki| spki.to_pem("PUBLIC KEY", LineEnding::LF))
            .map_err(|_| KeyError::Damaged)?;
        Ok(Self { key, oaep, modulus, id: KeyId::of(spki.as_ref()), public_pem })
    }

    /// Its name.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// The half to be registered with Meta: PEM of SPKI.
    pub fn public_pem(&self) -> String {
        self.public_pem.clone()
    }

    /// Both halves, to be stored: PEM of PKCS#8, not encrypted.
    pub fn private_pem(&self) -> SecretString {
        let pkcs8: Pkcs8V1Der<'_> = self.key.as_der().expect("a key in memory can be written");
        let pem = SecretDocument::try_from(pkcs8.as_ref())
            .and_then(|pkcs8| pkcs8.to_pem("PRIVATE KEY", LineEnding::LF))
            .expect("what the line above wrote is DER");
        SecretString::from(pem.as_str())
    }

    /// Decrypts the AES key of an exchange. If that fails, whatever the reason, the result is `instead`, and neither the way
    /// here nor the time it takes tells: otherwise the private key answers questions about other ciphertexts (Manger 2001).
    pub(super) fn unwrap_aes_key(
        &self,
        encrypted: &[u8; KEY_BYTES],
        instead: &[u8; AES_KEY_BYTES],
    ) -> Zeroizing<[u8; AES_KEY_BYTES]> {
        // A number beyond the modulus is refused without the private operation, which would show in the time. Without its top
        // bit it is below, as the modulus has that bit.
        let is_in_range = *encrypted < self.modulus;
        let mut ciphertext = *encrypted;
        if !is_in_range {
            ciphertext[0] &= !TOP_BIT;
        }
        let mut message = Zeroizing::new([0; KEY_BYTES]);
        let message_bytes = self
            .oaep
            .decrypt(&OAEP_SHA256_MGF1SHA256, &ciphertext, &mut *message, None)
            .map_or(0, |message| message.len());
        let is_key = Choice::from(u8::from(is_in_range)) & message_bytes.ct_eq(&AES_KEY_BYTES);
        let mut aes_key = Zeroizing::new(*instead);
        for (byte, decrypted) in aes_key.iter_mut().zip(message.iter()) {
            byte.conditional_assign(decrypted, is_key);
        }
        aes_key
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PrivateKey").field("id", &self.id).finish_non_exhaustive()
    }
}

const TOP_BIT: u8 = 0x80;

/// `RSAPrivateKey ::= SEQUENCE { version, modulus, … }` (RFC 8017, appendix A.1.2).
pub(super) fn modulus(pkcs1: &[u8]) -> Option<&[u8]> {
    let numbers: &SequenceRef = AnyRef::from_der(pkcs1).ok()?.decode_as().ok()?;
    let mut numbers = SliceReader::new(numbers.as_bytes()).ok()?;
    u8::decode(&mut numbers).ok()?;
    Some(UintRef::decode(&mut numbers).ok()?.as_bytes())
}

fn bits(number: &[u8]) -> usize {
    let leading_zeros = number.first().map_or(0, |first| first.leading_zeros() as usize);
    8 * number.len() - leading_zeros
}
