//! Private keys made by the real `openssl`, as it writes them and as operators hand them on.

use std::io::Write as _;
use std::process::{Command, Stdio};

use formgate::crypto::{KeyError, KeyId, PrivateKey};
use secrecy::{ExposeSecret as _, SecretString};

use super::key;

const PASSPHRASE: &str = "correct horse";

fn openssl(arguments: &str, input: &str) -> String {
    let mut openssl = Command::new("openssl")
        .args(arguments.split_whitespace())
        .env("PASSPHRASE", PASSPHRASE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("these tests read keys made by the openssl command, install it: {error}")
        });
    // A command that makes something from nothing may be gone before it could be written to.
    drop(openssl.stdin.take().expect("piped").write_all(input.as_bytes()));
    let output = openssl.wait_with_output().expect("ends");
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("PEM is text")
}

fn read(pem: &str) -> Result<PrivateKey, KeyError> {
    PrivateKey::from_pem(pem, Some(&PASSPHRASE.into()))
}

fn refusal(pem: &str) -> Option<KeyError> {
    read(pem).err()
}

fn public_half(pem: &str) -> String {
    openssl("pkey -pubout -passin env:PASSPHRASE", pem)
}

#[test]
fn plain_keys_of_openssl_are_read() {
    for command in
        ["genrsa 2048", "genrsa -traditional 2048", "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048"]
    {
        let pem = openssl(command, "");
        let key = PrivateKey::from_pem(&pem, None).unwrap_or_else(|error| panic!("{command}: {error}"));
        assert_eq!(key.public_pem(), public_half(&pem), "{command}");
    }
}

#[test]
fn encrypted_keys_of_openssl_are_read_with_their_passphrase_only() {
    let commands = ["-des3", "-aes128", "-aes192", "-aes256"]
        .iter()
        .flat_map(|cipher| {
            ["", "-traditional"].map(|kind| format!("rsa {cipher} {kind} -passout env:PASSPHRASE"))
        })
        .chain([
            "pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA512 -passout env:PASSPHRASE".to_owned(),
            "pkcs8 -topk8 -scrypt -passout env:PASSPHRASE".to_owned(),
        ]);
    let plain = key().private_pem();
    for command in commands {
        let pem = openssl(&command, plain.expose_secret());
        let opened = read(&pem).unwrap_or_else(|error| panic!("{command}: {error}"));
        assert_eq!(opened.id(), key().id(), "{command}");
        assert_eq!(PrivateKey::from_pem(&pem, None).err(), Some(KeyError::PassphraseMissing), "{command}");
        let wrong = PrivateKey::from_pem(&pem, Some(&"wrong horse".into())).err();
        assert_eq!(wrong, Some(KeyError::WrongPassphrase), "{command}");
    }
}

/// The very command of Meta's guide, of OpenSSL 3 and as OpenSSL 1 wrote it.
#[test]
fn keys_made_by_the_guides_command_are_read() {
    for command in [
        "genrsa -des3 -passout env:PASSPHRASE 2048",
        "genrsa -des3 -traditional -passout env:PASSPHRASE 2048",
    ] {
        let pem = openssl(command, "");
        let key = read(&pem).unwrap_or_else(|error| panic!("{command}: {error}"));
        assert_eq!(key.public_pem(), public_half(&pem), "{command}");
    }
}

/// One in 256 leaves padding that looks right.
#[test]
fn a_wrong_passphrase_is_told_as_such_also_when_the_padding_fits() {
    let pem = openssl("rsa -des3 -traditional -passout env:PASSPHRASE", key().private_pem().expose_secret());
    for attempt in 0..1_000 {
        let wrong = SecretString::from(format!("wrong {attempt}"));
        assert_eq!(PrivateKey::from_pem(&pem, Some(&wrong)).err(), Some(KeyError::WrongPassphrase));
    }
}

#[test]
fn outdated_encryption_is_told_with_the_way_out() {
    let plain = key().private_pem();
    for command in [
        "pkcs8 -topk8 -v1 PBE-SHA1-3DES -passout env:PASSPHRASE",
        "pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA1 -passout env:PASSPHRASE",
        "rsa -camellia256 -traditional -passout env:PASSPHRASE",
    ] {
        let pem = openssl(command, plain.expose_secret());
        assert_eq!(refusal(&pem), Some(KeyError::UnsupportedEncryption), "{command}");
    }
}

#[test]
fn a_key_survives_what_environments_do_to_it() {
    let plain = key().private_pem();
    let plain = plain.expose_secret();
    let encrypted = openssl("rsa -aes256 -traditional -passout env:PASSPHRASE", plain);
    for pem in [plain, &encrypted] {
        for mangled in [
            pem.replace('\n', "\r\n"),
            pem.replace('\n', "\\n"),
            pem.replace('\n', "\\r\\n"),
            format!("\"{}\"", pem.replace('\n', "\\n")),
            format!("\n\n  '{pem}'  \n"),
            pem.lines().map(|line| format!("    {line}  \n")).collect(),
            format!("\u{feff}{}", pem.trim_end()),
            format!("Bag Attributes\n    friendlyName: shop\n{pem}{}", key().public_pem()),
            format!("{}{pem}", key().public_pem()),
        ] {
            let read = read(&mangled).unwrap_or_else(|error| panic!("{error}: {mangled:.200}"));
            assert_eq!(read.id(), key().id());
        }
    }
    let on_one_line = plain.replace('\n', " ");
    assert_eq!(read(&on_one_line).expect("spaces for line breaks").id(), key().id());
}

#[test]
fn what_is_no_usable_key_is_called_by_its_name() {
    let plain = key().private_pem();
    let plain = plain.expose_secret();
    let middle = plain.len() / 2;
    let cases = [
        (String::new(), KeyError::NotPem),
        ("whatever".to_owned(), KeyError::NotPem),
        (key().public_pem(), KeyError::PublicKey),
        (openssl("rsa -RSAPublicKey_out", plain), KeyError::PublicKey),
        (self_signed("-x509"), KeyError::Certificate),
        (self_signed(""), KeyError::CertificateRequest),
        (openssl("ecparam -genkey -name prime256v1", ""), KeyError::NotRsa),
        (openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256", ""), KeyError::NotRsa),
        (openssl("genpkey -algorithm ed25519", ""), KeyError::NotRsa),
        (openssl("genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048", ""), KeyError::NotRsa),
        (openssl("genrsa 1024", ""), KeyError::Size { bits: 1024 }),
        (openssl("genrsa -traditional 2047", ""), KeyError::Size { bits: 2047 }),
        (openssl("genrsa 3072", ""), KeyError::Size { bits: 3072 }),
        (plain.replace("PRIVATE KEY", "OPENSSH PRIVATE KEY"), KeyError::OpenSsh),
        (plain[..middle].to_owned(), KeyError::Damaged),
        (format!("{}{}", &plain[..middle], &plain[middle + 65..]), KeyError::Damaged),
        (plain.replace("PRIVATE KEY", "RSA PRIVATE KEY"), KeyError::Damaged),
        (plain.replacen("PRIVATE KEY", "RSA PRIVATE KEY", 1), KeyError::Damaged),
        (plain.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"), KeyError::Damaged),
    ];
    for (pem, expected) in cases {
        assert_eq!(refusal(&pem), Some(expected), "{pem}");
    }
}

fn self_signed(kind: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("key.pem");
    std::fs::write(&file, key().private_pem().expose_secret()).expect("writes");
    openssl(&format!("req -new {kind} -subj /CN=test -key {}", file.display()), "")
}

#[test]
fn a_key_with_any_number_changed_is_damaged() {
    let plain = key().private_pem();
    let der = pem::parse(plain.expose_secret()).expect("PEM").into_contents();
    // Inside the modulus, the primes and the exponents, past the parts that say what it is.
    for at in (60..der.len()).step_by(97) {
        let mut changed = der.clone();
        changed[at] ^= 0x10;
        let changed = pem::encode(&pem::Pem::new("PRIVATE KEY", changed));
        assert_eq!(refusal(&changed), Some(KeyError::Damaged), "byte {at}");
    }
}

#[test]
fn a_new_key_survives_its_text_and_openssl_agrees_with_it() {
    let key = key();
    let private_pem = key.private_pem();
    let read = PrivateKey::from_pem(private_pem.expose_secret(), None).expect("its own text");
    assert_eq!((read.id(), read.public_pem()), (key.id(), key.public_pem()));
    assert_eq!(public_half(private_pem.expose_secret()), key.public_pem());
    assert_eq!(openssl("pkey -check -noout", private_pem.expose_secret()).trim(), "Key is valid");
}

#[test]
fn a_keys_id_is_the_start_of_its_public_halfs_digest() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("public.der");
    openssl(&format!("pkey -pubin -outform DER -out {}", file.display()), &key().public_pem());
    let digest = openssl(&format!("dgst -sha256 -r {}", file.display()), "");
    let id = key().id().to_string();
    assert_eq!(Some(id.as_str()), digest.get(..16));
    assert_eq!(id.parse(), Ok(*key().id()));
    assert!("xyz".parse::<KeyId>().is_err());
    assert_eq!(format!("{:?}", key()), format!("PrivateKey {{ id: KeyId({id}), .. }}"));
}
