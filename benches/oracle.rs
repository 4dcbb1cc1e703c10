//! Whether the time of a refusal tells why an envelope does not open: the oracle of Manger's attack, which must not be there.
//!
//! Each way of being wrong is timed in process, all of them in a new random order in every round, and compared with an envelope
//! whose key opens and whose tag is wrong. What is slower than nine tenths of everything was slowed by the machine and is left
//! out. Welch's |t| has to stay below 4.5. Two controls are timed among the others: the same class once more, which must
//! not differ, and the same with 5 microseconds more, which must. `cargo bench --bench oracle` times 100,000 of each, another
//! number can be given; it ends with a failure when a class can be told, or when a control says that it would not be.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use aes_gcm::aead::consts::U16;
use aes_gcm::aead::{Aead as _, KeyInit as _};
use aes_gcm::{AesGcm, aes::Aes128};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeySize, OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PrivateDecryptingKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use formgate::crypto::{KeyRing, PrivateKey};
use rand::seq::SliceRandom as _;

const SAMPLES: usize = 100_000;
/// Different envelopes of a class, so that none is told by what is special about it.
const ENVELOPES: usize = 256;
/// What a class may differ by: one in 100,000 fair comparisons does.
const MAX_T: f64 = 4.5;
/// The part of all times that counts, the fastest ones.
const KEPT: f64 = 0.9;
const INJECTED: Duration = Duration::from_micros(5);

/// One way of being wrong.
struct Class {
    name: &'static str,
    bodies: Vec<Vec<u8>>,
    injected: bool,
    expected: Expected,
}

#[derive(PartialEq, Eq)]
enum Expected {
    /// Everything is compared with it.
    Base,
    /// It takes as long.
    Equal,
    /// It takes longer, or nothing here would be found.
    Found,
}

fn main() -> ExitCode {
    let number = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let samples: usize = number.unwrap_or(SAMPLES);
    let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).expect("a key");
    let public = OaepPublicEncryptingKey::new(key.public_key()).expect("a key");
    let pkcs8: Pkcs8V1Der<'_> = key.as_der().expect("the key as PKCS#8");
    let pem = pem::encode(&pem::Pem::new("PRIVATE KEY", pkcs8.as_ref().to_vec()));
    let ring = KeyRing::new(vec![PrivateKey::from_pem(&pem, None).expect("our own key")]);
    let classes = classes(&public);

    let mut times = vec![Vec::with_capacity(samples); classes.len()];
    let mut order: Vec<usize> = (0..classes.len()).collect();
    let mut dice = rand::rng();
    for round in 0..samples + ENVELOPES {
        order.shuffle(&mut dice);
        for at in &order {
            let class = &classes[*at];
            let body = &class.bodies[round % ENVELOPES];
            let begun = Instant::now();
            let opened = ring.open(black_box(body));
            if class.injected {
                let until = Instant::now() + INJECTED;
                while Instant::now() < until {}
            }
            let took = begun.elapsed();
            assert!(opened.is_err(), "{}", class.name);
            // The first of each are not what the machine does when it is warm.
            if round >= ENVELOPES {
                times[*at].push(took.as_secs_f64() * 1e6);
            }
        }
    }

    let mut all: Vec<f64> = times.concat();
    all.sort_unstable_by(f64::total_cmp);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index"
    )]
    let slowest = all[((all.len() - 1) as f64 * KEPT) as usize];
    let kept = times.iter().map(|times| Moments::of(times.iter().copied().filter(|took| *took <= slowest)));
    let kept: Vec<Moments> = kept.collect();
    let base = classes.iter().position(|class| class.expected == Expected::Base).expect("one is");
    println!(
        "{samples} of each; what took more than {slowest:.1} us is left out. |t| has to be below {MAX_T}.\n"
    );
    println!("{:>34} {:>8} {:>10} {:>10} {:>9}", "", "kept", "mean us", "more us", "t");
    let mut failed = false;
    for (class, moments) in classes.iter().zip(&kept) {
        let t = moments.t(&kept[base]);
        let more = moments.mean - kept[base].mean;
        println!("{:>34} {:>8} {:>10.3} {more:>+10.3} {t:>9.2}", class.name, moments.number, moments.mean);
        failed |= match class.expected {
            Expected::Base => false,
            Expected::Equal => t.abs() >= MAX_T,
            Expected::Found => t < MAX_T,
        };
    }
    if failed {
        println!("\nA class can be told by its time, or a control says that it could not be.");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn classes(public: &OaepPublicEncryptingKey) -> Vec<Class> {
    let encrypted = |message: &[u8], label: Option<&[u8]>| {
        let mut ciphertext = vec![0; public.ciphertext_size()];
        public.encrypt(&OAEP_SHA256_MGF1SHA256, message, &mut ciphertext, label).expect("an envelope");
        ciphertext
    };
    let bad_tag = || {
        let (aes_key, iv): ([u8; 16], [u8; 16]) = (rand::random(), rand::random());
        let cipher = AesGcm::<Aes128, U16>::new(&aes_key.into());
        let mut data = cipher.encrypt(&iv.into(), &[7; 200][..]).expect("encrypts");
        *data.last_mut().expect("not empty") ^= 1;
        body(&encrypted(&aes_key, None), &data, iv)
    };
    // Noise in the place of the data, of the same length.
    let noise = |encrypted_key: &[u8]| {
        let data: Vec<u8> = std::iter::repeat_with(rand::random).take(200 + 16).collect();
        body(encrypted_key, &data, rand::random())
    };
    let class = |name, expected, make: &dyn Fn() -> Vec<u8>| Class {
        name,
        bodies: std::iter::repeat_with(make).take(ENVELOPES).collect(),
        injected: expected == Expected::Found,
        expected,
    };
    vec![
        class("wrong tag", Expected::Base, &bad_tag),
        class("first byte 0, no OAEP", Expected::Equal, &|| {
            noise(&encrypted(&rand::random::<[u8; 16]>(), Some(b"x")))
        }),
        class("first byte not 0", Expected::Equal, &|| {
            let mut random: [u8; 256] = rand::random();
            // Below the modulus, whose top bit is set.
            random[0] &= 0x7f;
            noise(&random)
        }),
        class("not below the modulus", Expected::Equal, &|| {
            let mut random: [u8; 256] = rand::random();
            random[..16].fill(0xff);
            noise(&random)
        }),
        class("a key of 15 bytes", Expected::Equal, &|| noise(&encrypted(&rand::random::<[u8; 15]>(), None))),
        class("a key of 32 bytes", Expected::Equal, &|| noise(&encrypted(&rand::random::<[u8; 32]>(), None))),
        class("control: wrong tag again", Expected::Equal, &bad_tag),
        class("control: wrong tag and 5 us", Expected::Found, &bad_tag),
    ]
}

fn body(encrypted_key: &[u8], data: &[u8], iv: [u8; 16]) -> Vec<u8> {
    let (data, key, iv) = (STANDARD.encode(data), STANDARD.encode(encrypted_key), STANDARD.encode(iv));
    format!(r#"{{"encrypted_flow_data":"{data}","encrypted_aes_key":"{key}","initial_vector":"{iv}"}}"#)
        .into_bytes()
}

/// What Welch's test asks of a sample.
struct Moments {
    number: usize,
    mean: f64,
    variance: f64,
}

impl Moments {
    fn of(times: impl Iterator<Item = f64>) -> Self {
        let (mut number, mut mean, mut squares) = (0_usize, 0.0, 0.0);
        for time in times {
            number += 1;
            let apart = time - mean;
            mean += apart / count(number);
            squares += apart * (time - mean);
        }
        Self { number, mean, variance: squares / count(number.saturating_sub(1).max(1)) }
    }

    /// Positive if this one takes longer.
    fn t(&self, other: &Self) -> f64 {
        let error = self.variance / count(self.number.max(1)) + other.variance / count(other.number.max(1));
        (self.mean - other.mean) / error.sqrt()
    }
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
fn count(number: usize) -> f64 {
    number as f64
}
