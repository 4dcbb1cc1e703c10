//! What an exchange costs beside the one thing it cannot do without: the private RSA operation that opens it.
//!
//! Every envelope has to be opened by RSA, so no endpoint on one core answers more than the inverse of that operation's
//! time. Three tables: each stage as a ratio to the bare operation, the whole exchange in process (the promise: at most
//! 1.15 of it), and through HTTP, with 1 and with 10,000 flows loaded. The bare operation is measured between the others,
//! so that a busy machine slows both. `cargo bench --bench exchange` ends with a failure when the promise is not kept.

#[path = "exchange/gate.rs"]
mod gate;
#[path = "exchange/http.rs"]
mod http;
#[path = "exchange/stages.rs"]
mod stages;

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use formgate::server::StatusCode;

use gate::{Gate, Sample};
use stages::Bare;

/// Most that a whole exchange may take, in process, of the bare RSA operation.
const PROMISE: f64 = 1.15;
const SAMPLES: usize = 1_500;
const FLOWS: [usize; 2] = [1, 10_000];

/// The middle of what was measured: what the machine does besides falls on both sides of it.
pub fn median(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took.get(took.len() / 2).copied().unwrap_or_default()
}

/// Whole exchanges, each beside one bare operation; the medians of both.
async fn whole(gate: &Gate, bare: &Bare, samples: Vec<Sample>) -> (Duration, Duration) {
    let (mut alone, mut exchanges) = (Vec::new(), Vec::new());
    for sample in samples {
        let request = gate.request(&sample);
        let begun = Instant::now();
        black_box(bare.decrypt());
        let between = Instant::now();
        let response = gate.endpoint.exchange(&sample.flow, &request).await;
        let ended = Instant::now();
        assert_eq!(response.status, StatusCode::OK);
        alone.push(between - begun);
        exchanges.push(ended - between);
        // A task that never waits would be made to.
        tokio::task::yield_now().await;
    }
    (median(alone), median(exchanges))
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let bare = Bare::new();
    let mut worst = 0.0_f64;

    println!(
        "In process, a form of {} screens; the promise is at most {PROMISE} of the bare RSA operation.",
        { Gate::handler().plan().screens.len() }
    );
    println!("{:>8} {:>14} {:>10} {:>10} {:>8}", "flows", "exchange", "RSA us", "whole us", "ratio");
    let mut gates = Vec::new();
    for flows in FLOWS {
        let gate = runtime.block_on(Gate::start(flows, &bare));
        for kind in gate::Kind::ALL {
            let samples = runtime.block_on(gate.samples(kind, SAMPLES));
            let (alone, exchange) = runtime.block_on(whole(&gate, &bare, samples));
            let ratio = exchange.as_secs_f64() / alone.as_secs_f64();
            worst = worst.max(ratio);
            println!(
                "{flows:>8} {:>14} {:>10.1} {:>10.1} {ratio:>8.3}",
                kind.name(),
                alone.as_secs_f64() * 1e6,
                exchange.as_secs_f64() * 1e6,
            );
        }
        gates.push(gate);
    }

    println!("\nEach stage of a submitted screen:");
    runtime.block_on(stages::print(&gates[0], &bare));

    println!(
        "\nThrough HTTP, keep-alive, one serving thread; the ceiling is 1 / RSA time, measured at the same moment."
    );
    http::print_head();
    for gate in &gates {
        for kind in [gate::Kind::Ping, gate::Kind::Screen] {
            let samples = runtime.block_on(gate.samples(kind, http::SAMPLES));
            http::measure(gate, &bare, kind, samples);
        }
    }
    if worst <= PROMISE {
        ExitCode::SUCCESS
    } else {
        println!("\nThe promise is not kept: {worst:.3} is above {PROMISE}.");
        ExitCode::FAILURE
    }
}
