//! Reads what Redis answers: bytes from outside, of which nothing is taken for granted.

use redis::Value;

use super::Error;
use crate::store::{Delivery, DeliveryState, Lane, Record, Version};

/// The fixed part of a row of deliveries; `common.lua` writes it.
const HEAD_BYTES: usize = 52;

/// An answer that is read from its beginning.
pub(super) struct Answer(std::vec::IntoIter<Value>);

pub(super) fn malformed() -> Error {
    Error::OutOfReach("its answer cannot be read".to_owned())
}

impl Answer {
    pub(super) fn new(value: Value) -> Result<Self, Error> {
        match value {
            Value::Array(values) => Ok(Self(values.into_iter())),
            _ => Err(malformed()),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.0.len() == 0
    }

    fn next(&mut self) -> Result<Value, Error> {
        self.0.next().ok_or_else(malformed)
    }

    pub(super) fn integer(&mut self) -> Result<i64, Error> {
        integer(&self.next()?)
    }

    pub(super) fn optional_integer(&mut self) -> Result<Option<i64>, Error> {
        match self.next()? {
            Value::Nil => Ok(None),
            value => integer(&value).map(Some),
        }
    }

    pub(super) fn bytes(&mut self) -> Result<Vec<u8>, Error> {
        self.optional_bytes()?.ok_or_else(malformed)
    }

    pub(super) fn optional_bytes(&mut self) -> Result<Option<Vec<u8>>, Error> {
        optional_bytes(self.next()?)
    }

    pub(super) fn text(&mut self) -> Result<String, Error> {
        String::from_utf8(self.bytes()?).map_err(|_no_text| malformed())
    }

    pub(super) fn inner(&mut self) -> Result<Self, Error> {
        Self::new(self.next()?)
    }
}

pub(super) fn integer(value: &Value) -> Result<i64, Error> {
    match value {
        Value::Int(number) => Ok(*number),
        _ => Err(malformed()),
    }
}

pub(super) fn optional_bytes(value: Value) -> Result<Option<Vec<u8>>, Error> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) => Ok(Some(bytes)),
        Value::SimpleString(text) => Ok(Some(text.into_bytes())),
        Value::Okay => Ok(Some(b"OK".to_vec())),
        _ => Err(malformed()),
    }
}

pub(super) fn version(bytes: &[u8]) -> Result<i64, Error> {
    bytes.try_into().map(i64::from_be_bytes).map_err(|_length| malformed())
}

/// Reads a record: its version, its time, its value.
pub(super) fn record(packed: &[u8]) -> Result<Record, Error> {
    let (version, rest) = packed.split_first_chunk::<8>().ok_or_else(malformed)?;
    let (expires, value) = rest.split_first_chunk::<8>().ok_or_else(malformed)?;
    let expires_at_ms = Some(i64::from_be_bytes(*expires)).filter(|expires| *expires != i64::MIN);
    Ok(Record { value: value.to_vec(), version: Version(i64::from_be_bytes(*version)), expires_at_ms })
}

/// Reads a row of deliveries; `None` if it is none of ours.
pub(super) fn delivery(key: &[u8], row: &[u8]) -> Option<(Delivery, Version)> {
    let (head, rest) = row.split_first_chunk::<HEAD_BYTES>()?;
    let (submission, head) = head.split_first_chunk::<16>()?;
    let ([state, lane], head) = head.split_first_chunk::<2>()?;
    let (due, head) = head.split_first_chunk::<8>()?;
    let (attempt, head) = head.split_first_chunk::<4>()?;
    let (lease, head) = head.split_first_chunk::<8>()?;
    let (unsettled, head) = head.split_first_chunk::<4>()?;
    let (version, length) = head.split_first_chunk::<8>()?;
    let length = u16::from_be_bytes(length.try_into().ok()?);
    let (destination, history) = rest.split_at_checked(usize::from(length))?;
    let delivery = Delivery {
        key: key.try_into().ok()?,
        submission: *submission,
        destination: std::str::from_utf8(destination).ok()?.to_owned(),
        state: DeliveryState::from_number(i64::from(*state))?,
        lane: Lane::ALL.get(usize::from(*lane)).copied()?,
        due_at_ms: i64::from_be_bytes(*due),
        attempt: u32::from_be_bytes(*attempt),
        lease: u64::from_be_bytes(*lease),
        unsettled: u32::from_be_bytes(*unsettled),
        history: history.to_vec(),
    };
    Some((delivery, Version(i64::from_be_bytes(*version))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_is_cut_anywhere_in_its_head_is_damage_and_no_panic() {
        let mut row = [7; 16].to_vec();
        row.extend([4, 2]);
        row.extend(5_i64.to_be_bytes());
        row.extend(6_u32.to_be_bytes());
        row.extend(7_u64.to_be_bytes());
        row.extend(8_u32.to_be_bytes());
        row.extend(9_i64.to_be_bytes());
        row.extend(3_u16.to_be_bytes());
        row.extend(b"crmkept");
        let (whole, version) = delivery(&[1; 16], &row).expect("a delivery");
        assert_eq!((whole.state, whole.lane, whole.due_at_ms), (DeliveryState::Dead, Lane::Bulk, 5));
        assert_eq!((whole.attempt, whole.lease, whole.unsettled, version.0), (6, 7, 8, 9));
        assert_eq!((whole.destination.as_str(), whole.history.as_slice()), ("crm", &b"kept"[..]));
        for length in 0..HEAD_BYTES + 3 {
            assert_eq!(delivery(&[1; 16], &row[..length]), None);
        }
        assert_eq!(delivery(&[1; 15], &row), None);
    }
}
