//! The network between phones and nodes: any node gets a request, and a bad line sends it several times at once.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use formgate::player::transport::{Error, HttpTransport, Response, Transport};
use rand::RngExt as _;
use rand::rngs::SmallRng;
use tokio::task::JoinSet;

use super::ledger::Ledger;

/// The line of one phone.
#[derive(Clone)]
pub struct Line {
    nodes: Vec<HttpTransport>,
    copies: usize,
    ledger: Arc<Ledger>,
    dice: Arc<Mutex<SmallRng>>,
}

impl Line {
    pub fn new(addresses: &[String], copies: usize, ledger: &Arc<Ledger>, dice: SmallRng) -> Line {
        let nodes = addresses.iter().map(|address| HttpTransport::new(address).expect("an address"));
        let dice = Arc::new(Mutex::new(dice));
        Line { nodes: nodes.collect(), copies, ledger: Arc::clone(ledger), dice }
    }

    /// Where each copy of a request goes.
    fn ways(&self) -> Vec<HttpTransport> {
        let mut dice = self.dice.lock().expect("no panic while held");
        let copies = dice.random_range(1..=self.copies);
        (0..copies).map(|_| self.nodes[dice.random_range(0..self.nodes.len())].clone()).collect()
    }
}

impl Transport for Line {
    async fn post(&self, body: Vec<u8>, headers: Vec<(&'static str, String)>) -> Result<Response, Error> {
        let (begun, mut sending) = (Instant::now(), JoinSet::new());
        for way in self.ways() {
            let (body, headers) = (body.clone(), headers.clone());
            sending.spawn(async move { way.post(body, headers).await });
        }
        let mut answers: Vec<_> = sending.join_all().await;
        self.ledger.exchanged(begun.elapsed());
        let good: Vec<_> = answers.iter().flatten().filter(|answer| answer.status == 200).cloned().collect();
        // One envelope has one reply: two of them under one key and IV would lay both open.
        if good.iter().any(|answer| answer.body != good[0].body) {
            self.ledger.complain(format!("{} copies of one envelope got different replies", good.len()));
        }
        good.into_iter().next().map_or_else(|| answers.swap_remove(0), Ok)
    }
}
