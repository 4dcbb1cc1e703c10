use proptest::prelude::*;

use super::*;

const MINUTE_MS: i64 = 60_000;

fn thresholds() -> Thresholds {
    Thresholds {
        queue_age: Duration::from_secs(15 * 60),
        dead_letters: 0,
        breaker: Duration::from_secs(60),
        error_percent: 3,
        latency: Duration::from_millis(500),
        token_percent: 20,
        disk_free_bytes: 1 << 30,
        single_copy: 1_000,
    }
}

fn queue(oldest_due_at_ms: Option<i64>, dead: u64) -> Queue {
    let due = u64::from(oldest_due_at_ms.is_some());
    let depth =
        QueueDepth { destination: "crm".to_owned(), due, in_flight: 0, delivered: 7, dead, oldest_due_at_ms };
    Queue { depth, hold: Hold::default(), quarantined: false }
}

/// The names of the causes that are bad.
fn bad(signs: &[Sign]) -> Vec<String> {
    signs.iter().filter(|s| matches!(s.level, Level::Bad(_))).map(|s| s.cause.to_string()).collect()
}

fn text(sign: &Sign) -> &str {
    match &sign.level {
        Level::Bad(text) => text,
        level => panic!("{level:?}"),
    }
}

#[test]
fn a_queue_is_too_old_above_its_threshold_and_well_at_half_of_it() {
    let thresholds = thresholds();
    let at = |minutes: i64| thresholds.queue(minutes * MINUTE_MS, &queue(Some(0), 0)).remove(0);
    assert_eq!(at(7).level, Level::Well);
    assert_eq!(at(15).level, Level::Between);
    assert_eq!(text(&at(16)), "1 deliveries to crm wait; the oldest has been due for 16 minutes.");
    assert_eq!(bad(&thresholds.queue(0, &queue(None, 3))), ["dead_letters crm"]);
    let quarantined = Queue { quarantined: true, ..queue(None, 1) };
    let many = Thresholds { dead_letters: 100, ..thresholds };
    assert_eq!(bad(&many.queue(0, &queue(None, 3))), Vec::<String>::new());
    assert_eq!(bad(&many.queue(0, &quarantined)), ["dead_letters crm"], "one that crashes is always told");
}

#[test]
fn what_waits_for_a_destination_that_is_held_is_no_cause_of_its_own() {
    let thresholds = thresholds();
    let held = |hold: Hold| thresholds.queue(60 * MINUTE_MS, &Queue { hold, ..queue(Some(0), 0) });
    let open = |minutes: i64| Hold { open_since_ms: Some((60 - minutes) * MINUTE_MS), paused: None };
    assert_eq!(bad(&held(open(0))), Vec::<String>::new(), "it may be back in a moment");
    assert_eq!(bad(&held(open(1))), ["breaker crm"]);
    let at_once = Thresholds { breaker: Duration::ZERO, ..thresholds };
    let opened = at_once.queue(60 * MINUTE_MS + 7_000, &Queue { hold: open(0), ..queue(Some(0), 0) });
    assert_eq!(text(&opened[2]), "crm has been failing for 7 seconds; 1 deliveries wait.");
    let paused = |by_itself: bool| Hold {
        paused: Some(Paused { by_itself, reason: Some("it answered 410".to_owned()) }),
        open_since_ms: Some(0),
    };
    assert_eq!(bad(&held(paused(false))), Vec::<String>::new(), "whoever paused it knows");
    let told = held(paused(true));
    assert_eq!(bad(&told), ["paused crm"]);
    assert_eq!(text(&told[3]), "crm is paused: it answered 410. 1 deliveries wait.");
}

#[test]
fn exchanges_are_told_before_meta_tells_them() {
    let thresholds = thresholds();
    let signs = |totals: Totals| thresholds.exchanges(&Exchanges { flow: "visit".to_owned(), totals });
    assert_eq!(bad(&signs(Totals { well: 96, failed: 4, ..Totals::default() })), ["exchange_errors visit"]);
    assert_eq!(bad(&signs(Totals { well: 97, failed: 3, ..Totals::default() })), Vec::<String>::new());
    assert_eq!(bad(&signs(Totals { well: 3, failed: 4, ..Totals::default() })), Vec::<String>::new(), "few");
    assert_eq!(
        bad(&signs(Totals { failed: 5, ..Totals::default() })),
        ["exchange_errors visit"],
        "all of them"
    );
    assert_eq!(bad(&signs(Totals { well: 100, notices: 4, ..Totals::default() })), ["client_errors visit"]);
    assert_eq!(bad(&signs(Totals { well: 70, token: 30, ..Totals::default() })), ["tokens visit"]);
    assert_eq!(bad(&signs(Totals { well: 80, token: 20, ..Totals::default() })), Vec::<String>::new());
    assert_eq!(bad(&signs(Totals { signature: 5, ..Totals::default() })), ["signatures visit"]);
    assert_eq!(bad(&signs(Totals { well: 50, signature: 40, ..Totals::default() })), Vec::<String>::new());
    assert_eq!(
        bad(&signs(Totals { well: 45, undecryptable: 5, ..Totals::default() })),
        ["undecryptable visit"]
    );
    assert_eq!(bad(&signs(Totals { well: 45, undecryptable: 2, ..Totals::default() })), Vec::<String>::new());
    let quiet = signs(Totals::default());
    assert!(quiet.iter().all(|sign| sign.level == Level::Well), "{quiet:?}");
}

#[test]
fn the_slowest_tenth_is_found_in_its_bucket() {
    let near = |found: f64, wanted: f64| assert!((found - wanted).abs() < 1e-9, "{found} is not {wanted}");
    near(p90(&[(0.1, 90), (0.5, 10)]), 0.1);
    near(p90(&[(0.1, 80), (0.5, 20)]), 0.3);
    near(p90(&[(0.1, 0), (0.5, 0), (f64::INFINITY, 9)]), 0.5);
    near(p90(&[]), 0.0);
    let sign = |slow: u64| thresholds().latency(&[(0.25, 100 - slow), (1.0, slow)]);
    assert_eq!(sign(10).level, Level::Well);
    assert!(matches!(sign(20).level, Level::Bad(_)), "{:?}", sign(20));
    assert_eq!(thresholds().latency(&[(0.25, 0), (1.0, 5)]).level, Level::Between, "few say nothing");
}

#[test]
fn disks_backups_erasures_numbers_and_the_shared_store_have_their_bounds() {
    let thresholds = thresholds();
    let disk = |mib: u64| thresholds.disk(Disk { free_bytes: mib << 20 }).level;
    assert_eq!((disk(1_280), disk(1_279), disk(1_024)), (Level::Well, Level::Between, Level::Between));
    assert_eq!(disk(1_023), Level::Bad("1023 MiB are free where data_dir is.".to_owned()));
    let backup = |hours: i64, failed: Option<&str>| {
        let backup =
            Backup { last_ms: 0, every: Duration::from_secs(6 * 3600), failed: failed.map(str::to_owned) };
        thresholds.backup(hours * 60 * MINUTE_MS, &backup).level
    };
    assert_eq!(backup(9, None), Level::Well);
    assert_eq!(backup(10, None), Level::Bad("The last backup was 10 hours ago.".to_owned()));
    assert_eq!(backup(1, Some("no space")), Level::Bad("The last backup failed: no space.".to_owned()));
    let erasure = |hours: i64| thresholds.erasure(hours * 60 * MINUTE_MS, Some(0)).level;
    assert_eq!(thresholds.erasure(0, None).level, Level::Well);
    assert!(matches!((erasure(24), erasure(25)), (Level::Between, Level::Bad(_))));
    let number =
        |has_key, has_secret| thresholds.number(&Number { id: "shop".to_owned(), has_key, has_secret }).level;
    assert_eq!(number(true, true), Level::Well);
    assert_eq!(number(false, true), Level::Bad("Number shop has no private key.".to_owned()));
    assert_eq!(number(true, false), Level::Bad("Number shop has no app secret that is in force.".to_owned()));
    let shared = |seconds: u64, single| {
        let away = (seconds > 0).then(|| Duration::from_secs(seconds));
        bad(&thresholds.shared_store(SharedStore { away, single, single_for: Duration::from_secs(60) }))
    };
    assert_eq!(shared(0, 1_000), Vec::<String>::new());
    assert_eq!(shared(59, 1_000), Vec::<String>::new());
    assert_eq!(shared(60, 1_001), ["shared_store", "single_copy"]);
}

#[test]
fn a_single_copy_is_told_from_the_first_on_if_it_stays_one_for_a_minute() {
    let none = Thresholds { single_copy: 0, ..thresholds() };
    let sign = |single: u64, seconds: u64| {
        let shared = SharedStore { away: None, single, single_for: Duration::from_secs(seconds) };
        none.shared_store(shared).remove(1).level
    };
    assert_eq!(sign(1, 59), Level::Between, "it has its second copy in a moment");
    assert_eq!(sign(1, 60), Level::Bad("1 submissions are on this node only.".to_owned()));
    assert_eq!(sign(0, 0), Level::Well);
}

proptest! {
    #[test]
    fn a_measure_that_trembles_around_its_threshold_never_jumps_from_bad_to_well(
        base in 0..2_000_u64, step in 0..100_u64,
    ) {
        // A tenth of the threshold up or down does not cross the margin.
        let thresholds = thresholds();
        let rank = |level: &Level| match level { Level::Well => 0, Level::Between => 1, Level::Bad(_) => 2_i32 };
        let disk = |mib: u64| rank(&thresholds.disk(Disk { free_bytes: mib << 20 }).level);
        prop_assert!((disk(base) - disk(base + step)).abs() <= 1);
        prop_assert!(disk(base) >= disk(base + step), "more is better");
        let age = |seconds: u64| {
            let now_ms = i64::try_from(seconds * 1_000).expect("small");
            rank(&thresholds.queue(now_ms, &queue(Some(0), 0))[0].level)
        };
        prop_assert!((age(base) - age(base + step)).abs() <= 1);
        prop_assert!(age(base) <= age(base + step), "older is worse");
    }

    #[test]
    fn no_counters_make_a_rule_panic(
        well in any::<u32>(), token in any::<u32>(), undecryptable in any::<u32>(), signature in any::<u32>(),
        failed in any::<u32>(), notices in any::<u32>(), now_ms in any::<i64>(), at_ms in any::<i64>(),
    ) {
        let [well, token, undecryptable, signature, failed, notices] =
            [well, token, undecryptable, signature, failed, notices].map(u64::from);
        let totals = Totals { well, token, undecryptable, signature, failed, notices };
        prop_assert_eq!(totals.since(&totals), Totals::default());
        let thresholds = thresholds();
        prop_assert_eq!(thresholds.exchanges(&Exchanges { flow: "f".to_owned(), totals }).len(), 5);
        thresholds.queue(now_ms, &queue(Some(at_ms), failed));
        thresholds.erasure(now_ms, Some(at_ms));
        thresholds.backup(now_ms, &Backup { last_ms: at_ms, every: Duration::from_secs(60), failed: None });
    }
}
