//! Reading: as the embedded store reads, page by page, so that a long list never holds the server up.

use super::code::{Answer, delivery, malformed, optional_bytes, record};
use super::script::{DEPTHS, LIST, NEXT, SCAN, UNTRACED};
use super::{Error, PAGE, Redis};
use crate::store::embedded::prefix_end;
use crate::store::{Delivery, DeliveryFilter, QueueDepth, Record, Scan, Table, Version};

/// Records of one answer: with the largest submissions it stays below a megabyte or two.
const SCANNED: u32 = 200;

impl Redis {
    /// Reads one record, expired or not.
    pub async fn get(&self, table: Table, key: &[u8]) -> Result<Option<Record>, Error> {
        let command = redis::cmd("HGET").arg(self.values(table)).arg(key).to_owned();
        optional_bytes(self.line.ask(&command).await?)?.as_deref().map(record).transpose()
    }

    /// Reads records in the order of their keys.
    pub async fn scan(&self, table: Table, scan: &Scan) -> Result<Vec<(Vec<u8>, Record)>, Error> {
        let (mut found, mut after) = (Vec::new(), scan.after.clone());
        loop {
            let left = scan.limit.saturating_sub(u32::try_from(found.len()).unwrap_or(u32::MAX));
            let page = left.min(SCANNED);
            if page == 0 {
                return Ok(found);
            }
            let Some((first, last)) = bounds(scan, after.as_deref()) else { return Ok(found) };
            let call = self.call(&SCAN).number(table.number()).bytes(first).bytes(last);
            let call = call.flag(scan.descending).number(page.into());
            let mut answer = Answer::new(self.run(&SCAN, call).await?)?;
            let mut read = 0;
            while !answer.is_over() {
                let (key, packed) = (answer.bytes()?, answer.optional_bytes()?);
                read += 1;
                after = Some(key.clone());
                if let Some(packed) = packed {
                    found.push((key, record(&packed)?));
                }
            }
            if read < page {
                return Ok(found);
            }
        }
    }

    /// Reads one delivery.
    pub async fn delivery(&self, key: [u8; 16]) -> Result<Option<Delivery>, Error> {
        let mut read = self.states(&[key]).await?;
        Ok(read.pop().flatten().map(|(delivery, _)| delivery))
    }

    /// How deliveries stand, in the order of the keys; `None` for those that are not there or cannot be read.
    pub async fn states(&self, keys: &[[u8; 16]]) -> Result<Vec<Option<(Delivery, Version)>>, Error> {
        if keys.is_empty() {
            return Ok(vec![]);
        }
        let mut command = redis::cmd("HMGET");
        command.arg(self.name("d"));
        for key in keys {
            command.arg(key.as_slice());
        }
        let mut answer = Answer::new(self.line.ask(&command).await?)?;
        let mut states = Vec::with_capacity(keys.len());
        for key in keys {
            let row = answer.optional_bytes()?;
            states.push(row.and_then(|row| delivery(key, &row)));
        }
        Ok(states)
    }

    /// Reads deliveries in the order of their keys, after `cursor`.
    pub async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        cursor: Option<[u8; 16]>,
        limit: u32,
    ) -> Result<Vec<Delivery>, Error> {
        let (mut found, mut after) = (Vec::new(), cursor.map(Vec::from).unwrap_or_default());
        loop {
            let left = limit.saturating_sub(u32::try_from(found.len()).unwrap_or(u32::MAX));
            if left == 0 {
                return Ok(found);
            }
            let submission = filter.submission.as_ref().map(<[u8; 16]>::as_slice).unwrap_or_default();
            let destination = filter.destination.as_deref().unwrap_or_default();
            let state = filter.state.map_or(-1, |state| state.number());
            let call = self.call(&LIST).bytes(submission).bytes(destination).number(state).bytes(after);
            let call = call.number(left.min(PAGE).into()).number(PAGE.into());
            let mut answer = Answer::new(self.run(&LIST, call).await?)?;
            let goes_on = answer.optional_bytes()?;
            let (before, mut last) = (found.len(), None);
            while !answer.is_over() {
                let (key, row) = (answer.bytes()?, answer.bytes()?);
                match delivery(&key, &row) {
                    Some((delivery, _)) => found.push(delivery),
                    // One that cannot be decoded must not hide the others.
                    None => tracing::warn!("a delivery cannot be decoded"),
                }
                last = Some(key);
            }
            let is_full = found.len() - before >= left.min(PAGE) as usize;
            after = match (goes_on, last) {
                (Some(after), _) => after,
                // The page was full before all were looked at.
                (None, Some(last)) if is_full => last,
                _ => return Ok(found),
            };
        }
    }

    /// When the next delivery in each lane of a destination is due or its lease ends.
    pub async fn next_due(&self, destination: &str) -> Result<[Option<i64>; 3], Error> {
        let mut answer = Answer::new(self.run(&NEXT, self.call(&NEXT).bytes(destination)).await?)?;
        Ok([answer.optional_integer()?, answer.optional_integer()?, answer.optional_integer()?])
    }

    /// How many deliveries each destination has in each state.
    pub async fn depths(&self) -> Result<Vec<QueueDepth>, Error> {
        let mut answer = Answer::new(self.run(&DEPTHS, self.call(&DEPTHS)).await?)?;
        let mut depths = Vec::new();
        while !answer.is_over() {
            let destination = answer.text()?;
            let mut count = || answer.integer().map(|count| u64::try_from(count).unwrap_or(0));
            let (due, in_flight, delivered, dead) = (count()?, count()?, count()?, count()?);
            let oldest_due_at_ms = answer.optional_integer()?;
            depths.push(QueueDepth { destination, due, in_flight, delivered, dead, oldest_due_at_ms });
        }
        Ok(depths)
    }

    /// Keys of timeline records that have no trace: an older release wrote them.
    pub async fn untraced(&self, limit: u32) -> Result<Vec<Vec<u8>>, Error> {
        let (mut found, mut after) = (Vec::new(), Vec::new());
        loop {
            let left = limit.saturating_sub(u32::try_from(found.len()).unwrap_or(u32::MAX));
            if left == 0 {
                return Ok(found);
            }
            let call = self.call(&UNTRACED).bytes(after).number(left.into()).number(PAGE.into());
            let mut answer = Answer::new(self.run(&UNTRACED, call).await?)?;
            let goes_on = answer.optional_bytes()?;
            while !answer.is_over() {
                found.push(answer.bytes()?);
            }
            match goes_on {
                Some(key) => after = key,
                None => return Ok(found),
            }
        }
    }

    /// The server's time.
    pub async fn now_ms(&self) -> Result<i64, Error> {
        let mut answer = Answer::new(self.line.ask(&redis::cmd("TIME")).await?)?;
        let mut number = || answer.text()?.parse::<i64>().map_err(|_no_number| malformed());
        let (seconds, microseconds) = (number()?, number()?);
        Ok(seconds.saturating_mul(1_000).saturating_add(microseconds / 1_000))
    }
}

/// The borders of a scan as Redis writes them; `None` if nothing can be between them.
fn bounds(scan: &Scan, after: Option<&[u8]>) -> Option<(Vec<u8>, Vec<u8>)> {
    let with = |sign: u8, key: &[u8]| [&[sign], key].concat();
    let end = prefix_end(&scan.prefix);
    let (mut first, mut last) =
        (with(b'[', &scan.prefix), end.as_deref().map_or(b"+".to_vec(), |end| with(b'(', end)));
    if let Some(after) = after {
        if scan.descending && end.as_deref().is_none_or(|end| after < end) {
            last = with(b'(', after);
        } else if !scan.descending && after >= scan.prefix.as_slice() {
            first = with(b'(', after);
        }
        let is_over = if scan.descending {
            after <= scan.prefix.as_slice()
        } else {
            end.is_some_and(|end| after >= end.as_slice())
        };
        if is_over {
            return None;
        }
    }
    Some((first, last))
}
