use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, params};

use super::{Kept, Kind, Part, What, page};
use crate::store::Table;
use crate::store::embedded::schema;

/// States on disk.
const ENDED: [i64; 3] = [3, 4, 6];
const ENTRUSTED: i64 = 5;

fn file() -> Connection {
    let mut connection = Connection::open_in_memory().expect("a database");
    schema::migrate(&mut connection).expect("a schema");
    connection
}

/// A key that says nothing about when it came.
fn scattered(number: i64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64).to_be_bytes());
    key
}

/// So many tombstones, deliveries that have ended, and others that are open, each with its submission and a pause; the first
/// `lacked` of each are not told.
fn filled(rows: i64, lacked: i64) -> Connection {
    let connection = file();
    connection.execute_batch("BEGIN").expect("a transaction");
    {
        let prepare = |sql| connection.prepare(sql).expect("a statement");
        let mut record =
            prepare("INSERT INTO record (tbl, key, value, shared, pending) VALUES (?1, ?2, x'07', ?3, ?4)");
        let mut delivery = prepare(
            "INSERT INTO delivery (key, submission, destination, state, due_at_ms, attempt, lease, unsettled, history,
             shared, pending) VALUES (?1, ?2, 'crm', ?3, 0, 1, 1, 0, x'', ?4, ?5)",
        );
        let mut tombstone =
            prepare("INSERT INTO tombstone (tbl, key, shared, pending) VALUES (?1, ?2, ?3, ?4)");
        for number in 0..rows {
            let (key, version, pending) = (scattered(number), number + 1, number < lacked);
            for table in [Table::Submission, Table::Pause] {
                record.execute(params![table.number(), key, version, pending]).expect("a record");
            }
            let ended = ENDED[usize::try_from(number).expect("small") % ENDED.len()];
            for (place, state) in [(0, ended), (1, ENTRUSTED)] {
                let delivery_key = scattered(2 * number + place);
                delivery.execute(params![delivery_key, key, state, version, pending]).expect("a delivery");
            }
            // Some of one version.
            tombstone.execute(params![1 + number % 2, key, number / 3 + 1, pending]).expect("a tombstone");
        }
    }
    connection.execute_batch("COMMIT").expect("a commit");
    connection
}

/// Everything of a kind, in pages of so many.
fn read(connection: &Connection, kind: Kind, what: What, limit: u32) -> Vec<Vec<Kept>> {
    let (mut items, mut after) = (Vec::new(), None);
    loop {
        let page = page(connection, kind, Part { what, after, limit }).expect("a page");
        assert!(page.items.len() <= limit as usize);
        items.extend(page.items);
        after = page.next;
        if after.is_none() {
            return items;
        }
    }
}

#[test]
fn pages_have_every_row_once() {
    let connection = filled(50, 7);
    for (what, counts) in [(What::All, [50, 50, 50, 50, 100]), (What::Lacked, [7, 7, 7, 7, 14])] {
        for (kind, count) in Kind::ALL.into_iter().zip(counts) {
            for limit in [1, 2, 7, 1_000] {
                let items = read(&connection, kind, what, limit);
                let once: BTreeSet<String> = items.iter().map(|item| format!("{item:?}")).collect();
                assert_eq!(
                    (items.len(), once.len()),
                    (count, count),
                    "{kind:?}, {what:?}, {limit} in a page"
                );
            }
        }
    }
}

#[test]
fn the_newest_of_what_was_deleted_or_has_ended_comes_first() {
    let connection = filled(50, 0);
    for kind in [Kind::Gone, Kind::Ended] {
        let items = read(&connection, kind, What::All, 7);
        let versions = items.iter().flatten().map(|kept| match kept {
            Kept::Gone { version, .. } | Kept::Record { version, .. } | Kept::Delivery { version, .. } => {
                *version
            }
        });
        assert!(versions.is_sorted_by(|newer, older| newer >= older), "{kind:?}");
    }
}

/// What SQLite has to do for all pages of a kind.
fn steps(connection: &mut Connection, kind: Kind, what: What) -> u64 {
    let steps = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&steps);
    let count = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        false
    };
    connection.progress_handler(1, Some(count)).expect("a handler");
    drop(read(connection, kind, what, 20));
    steps.load(Ordering::Relaxed)
}

#[test]
fn a_page_costs_what_it_has_and_nothing_for_those_before() {
    let (mut few, mut many) = (filled(500, 10), filled(4_000, 10));
    for kind in Kind::ALL {
        let (less, more) = (steps(&mut few, kind, What::All), steps(&mut many, kind, What::All));
        assert!(more < 12 * less, "{kind:?}: {less} steps for 500 rows, {more} for 4,000");
        // What is not lacked costs nothing, however much it is.
        let (less, more) = (steps(&mut few, kind, What::Lacked), steps(&mut many, kind, What::Lacked));
        assert!(more < 2 * less, "{kind:?}: {less} steps for 10 rows of 500, {more} for 10 of 4,000");
    }
}
