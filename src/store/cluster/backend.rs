//! The contract of a store, kept by a node.
//!
//! What is read comes from Redis while it is within reach, and from the journal otherwise. What concerns this machine alone
//! (the audit chain, the file, backups) is the journal's.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::watch;

use super::Cluster;
use super::node::Node;
use crate::fault;
use crate::store::{
    Backend, Batch, Claim, Delivery, DeliveryFilter, Erased, Erasure, Error, Fatal, Head, Link, Mac, Pending,
    Put, QueueDepth, Rate, Record, Reopened, Rewrite, Scan, Settlement, Standing, Table, Tokens,
};

impl Cluster {
    /// Carries an operation out to its end, also when its caller stops waiting.
    fn carried_out<T, F>(&self, operation: impl FnOnce(Arc<Node>) -> F + Send + 'static) -> Pending<'_, T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let node = Arc::clone(&self.node);
        Box::pin(async move { tokio::spawn(operation(node)).await.unwrap_or(Err(Error::Unavailable)) })
    }
}

impl Backend for Cluster {
    fn commit(&self, batch: Batch) -> Pending<'_, ()> {
        self.carried_out(|node| async move { node.commit(batch).await })
    }

    fn claim_lanes(&self, claim: Claim) -> Pending<'_, Vec<Delivery>> {
        self.carried_out(|node| async move { node.claim(claim).await })
    }

    fn adopt(&self, submission: [u8; 16]) -> Pending<'_, bool> {
        self.carried_out(move |node| async move { node.adopt(submission).await })
    }

    fn keep_copies(&self, records: Vec<(Table, Vec<u8>)>) -> Pending<'_, ()> {
        self.carried_out(|node| async move { node.keep_copies(records).await })
    }

    fn confirm(&self, records: Vec<(Table, Vec<u8>)>) -> Pending<'_, ()> {
        if !self.node.confirms {
            return Box::pin(std::future::ready(Ok(())));
        }
        self.carried_out(|node| async move { node.confirm(records).await })
    }

    fn renew(&self, key: [u8; 16], lease: u64, until_ms: i64) -> Pending<'_, ()> {
        self.carried_out(move |node| async move { node.renew(key, lease, until_ms).await })
    }

    fn settle(&self, key: [u8; 16], lease: u64, settlement: Settlement) -> Pending<'_, ()> {
        self.carried_out(move |node| async move { node.settle(key, lease, settlement).await })
    }

    fn reopen(&self, key: [u8; 16], due_at_ms: i64, puts: Vec<Put>) -> Pending<'_, Reopened> {
        self.carried_out(move |node| async move { node.reopen(key, due_at_ms, puts).await })
    }

    fn clamp_due(&self, latest_ms: i64) -> Pending<'_, u64> {
        self.carried_out(move |node| async move { node.clamp_due(latest_ms).await })
    }

    fn purge_expired(&self, now_ms: i64, limit: u32) -> Pending<'_, u64> {
        self.carried_out(move |node| async move { node.purge_expired(now_ms, limit).await })
    }

    fn chain_audit(&self, mac: Arc<dyn Mac>) {
        self.node.journal.chain_audit(mac);
    }

    fn chain_beginning(&self, mac: &dyn Mac) -> Put {
        self.node.journal.chain_beginning(mac)
    }

    fn chain_head(&self, mac: Arc<dyn Mac>) -> Pending<'_, Option<Head>> {
        self.node.journal.chain_head(mac)
    }

    fn chain_start(&self, mac: Arc<dyn Mac>) -> Pending<'_, Option<Head>> {
        self.node.journal.chain_start(mac)
    }

    fn trim_audit(&self, before: Vec<u8>, limit: u32) -> Pending<'_, u64> {
        Box::pin(async move {
            // First here, so that nothing is told again that was deleted there. What another node still has comes back with a
            // refill, and goes with the next time.
            let here = self.node.journal.trim_audit(before.clone(), limit).await?;
            let asked = self.node.ask(self.node.pace.work, |redis| redis.trim_audit(&before, limit));
            Ok(asked.await?.unwrap_or(0).max(here))
        })
    }

    fn trail(&self, after: u64, limit: u32) -> Pending<'_, Vec<Link>> {
        self.node.journal.trail(after, limit)
    }

    fn erase(&self, erasure: Erasure) -> Pending<'_, Erased> {
        self.carried_out(|node| async move { node.erase(erasure).await })
    }

    fn untraced(&self, limit: u32) -> Pending<'_, Vec<Vec<u8>>> {
        Box::pin(async move {
            match self.node.read(self.node.pace.work, |redis| redis.untraced(limit)).await? {
                Some(keys) => Ok(keys),
                None => self.node.journal.untraced(limit).await,
            }
        })
    }

    fn scrub(&self) -> Pending<'_, bool> {
        self.node.journal.scrub()
    }

    fn rewrite_log(&self, at_once: bool) -> Pending<'_, Rewrite> {
        Box::pin(async move {
            let asked = self.node.ask(self.node.pace.work, |redis| redis.rewrite_log(at_once)).await?;
            Ok(asked.unwrap_or(Rewrite::Later))
        })
    }

    fn copy_to(&self, path: PathBuf) -> Pending<'_, ()> {
        self.node.journal.copy_to(path)
    }

    fn faults(&self) -> Pending<'_, Vec<String>> {
        self.node.journal.faults()
    }

    fn get<'a>(&'a self, table: Table, key: &'a [u8]) -> Pending<'a, Option<Record>> {
        Box::pin(self.node.get(table, key))
    }

    fn scan(&self, table: Table, scan: Scan) -> Pending<'_, Vec<(Vec<u8>, Record)>> {
        Box::pin(async move {
            if !table.is_shared() {
                return self.node.journal.scan(table, scan).await;
            }
            if table.is_configuration() {
                return self.node.scan_configuration(table, scan).await;
            }
            match self.node.read(self.node.pace.work, |redis| redis.scan(table, &scan)).await? {
                Some(records) => Ok(records),
                None => self.node.journal.scan(table, scan).await,
            }
        })
    }

    fn scan_all(&self, table: Table, scan: Scan) -> Pending<'_, Vec<(Vec<u8>, Record)>> {
        Box::pin(self.node.scan_all(table, scan))
    }

    fn delivery(&self, key: [u8; 16]) -> Pending<'_, Option<Delivery>> {
        Box::pin(self.node.delivery(key))
    }

    fn deliveries(
        &self,
        filter: DeliveryFilter,
        cursor: Option<[u8; 16]>,
        limit: u32,
    ) -> Pending<'_, Vec<Delivery>> {
        Box::pin(async move {
            let asked =
                self.node.read(self.node.pace.work, |redis| redis.deliveries(&filter, cursor, limit)).await?;
            match asked {
                Some(deliveries) => Ok(deliveries),
                None => self.node.journal.deliveries(filter, cursor, limit).await,
            }
        })
    }

    fn deliveries_all(
        &self,
        filter: DeliveryFilter,
        cursor: Option<[u8; 16]>,
        limit: u32,
    ) -> Pending<'_, Vec<Delivery>> {
        Box::pin(async move { self.node.deliveries_all(&filter, cursor, limit).await })
    }

    fn next_due<'a>(&'a self, destination: &'a str) -> Pending<'a, [Option<i64>; 3]> {
        Box::pin(async move {
            match self.node.read(self.node.pace.work, |redis| redis.next_due(destination)).await? {
                Some(next) => Ok(next),
                None => self.node.journal.next_due(destination).await,
            }
        })
    }

    fn depths(&self) -> Pending<'_, Vec<QueueDepth>> {
        Box::pin(async move {
            match self.node.read(self.node.pace.work, |redis| redis.depths()).await? {
                Some(depths) => Ok(depths),
                None => self.node.journal.depths().await,
            }
        })
    }

    fn ready(&self) -> Pending<'_, ()> {
        Box::pin(async move {
            self.node.journal.ready().await?;
            if self.node.could_confirm() { Ok(()) } else { Err(Error::Unconfirmed) }
        })
    }

    fn own_audit(&self, scan: Scan) -> Pending<'_, Vec<(Vec<u8>, Record)>> {
        self.node.journal.scan(Table::Audit, scan)
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn take_tokens<'a>(
        &'a self,
        account: &'a str,
        rate: Option<Rate>,
        wanted: u32,
        now_ms: i64,
    ) -> Pending<'a, Tokens> {
        Box::pin(async move {
            let node = &self.node;
            if fault::is_on("cluster.bucket_per_node") {
                return node.journal.take_tokens(account, rate, wanted, now_ms).await;
            }
            let asked = node.ask(node.pace.work, |redis| redis.take_tokens(account, rate, wanted, now_ms));
            match asked.await? {
                Some(tokens) => Ok(tokens),
                // Alone it keeps to the rate by itself.
                None => node.journal.take_tokens(account, rate, wanted, now_ms).await,
            }
        })
    }

    fn give_tokens_back<'a>(&'a self, account: &'a str, rate: Option<Rate>, unused: u32) -> Pending<'a, ()> {
        Box::pin(async move {
            let node = &self.node;
            let asked = node.ask(node.pace.work, |redis| redis.give_tokens_back(account, rate, unused));
            match asked.await? {
                Some(()) => Ok(()),
                None => node.journal.give_tokens_back(account, rate, unused).await,
            }
        })
    }

    fn slow_down<'a>(
        &'a self,
        account: &'a str,
        rate: Option<Rate>,
        until_ms: i64,
        now_ms: i64,
    ) -> Pending<'a, ()> {
        Box::pin(async move {
            let node = &self.node;
            if fault::is_on("cluster.patience_of_nobody") {
                return Ok(());
            }
            // Also here: Redis may be out of reach when it is asked next.
            node.journal.slow_down(account, rate, until_ms, now_ms).await?;
            let asked = node.ask(node.pace.work, |redis| redis.slow_down(account, rate, until_ms, now_ms));
            asked.await.map(drop)
        })
    }

    fn node(&self) -> Option<&str> {
        Some(&self.node.id)
    }

    fn standing(&self) -> Option<Standing> {
        Some(Standing {
            reachable: !self.node.link.is_down(),
            told: self.node.link.is_told(),
            single_copy: self.node.single_copy.load(Ordering::Acquire),
            out_for: self.node.link.out_for(),
        })
    }

    fn changes(&self, table: Table) -> watch::Receiver<u64> {
        self.node.watched.get(&table).map_or_else(|| watch::channel(0).1, watch::Sender::subscribe)
    }

    fn fatal(&self) -> watch::Receiver<Option<Fatal>> {
        self.node.journal.fatal()
    }

    fn close(&self) -> Pending<'_, ()> {
        self.node.journal.close()
    }
}
