//! What the next release has written about files, as this one finds it.

use std::time::Duration;

use formgate::store::{Batch, Put, Scan, Table};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::home::{Home, PATIENCE, limits, pdf};
use crate::connect::fixture::free_port;

#[tokio::test]
async fn files_whose_record_only_the_next_release_can_read_stay_where_they_are() {
    let home = Home::new().await;
    let running = home.start();
    let mut away = home.upload("b.pdf", &pdf(60));
    away["cdn_url"] = json!(format!("http://127.0.0.1:{}/b", free_port()));
    let id = running.accept(&[home.upload("a.pdf", &pdf(50)), away], &limits(&[], 1)).await;
    let tried = async |times: u8| {
        let until = Instant::now() + PATIENCE;
        loop {
            let scan = Scan { limit: 9, ..Scan::default() };
            let jobs = running.store.scan(Table::Job, scan).await.expect("a read");
            if jobs.first().is_some_and(|(_, job)| job.value >= vec![0, 0, 0, times]) {
                return;
            }
            assert!(Instant::now() < until, "not tried {times} times: {jobs:?}");
            sleep(Duration::from_millis(5)).await;
        }
    };
    tried(1).await;
    // It is there, and its record says so.
    let until = Instant::now() + PATIENCE;
    while running.told(id).await[0].get("pending").is_some() {
        assert!(Instant::now() < until, "still pending");
        sleep(Duration::from_millis(5)).await;
    }
    home.leaves(1).await;
    let record = running.store.get(Table::File, &id.to_bytes()).await.expect("a read").expect("a record");
    let put = |value: Vec<u8>| Batch::at(0).put(Put::new(Table::File, id.to_bytes(), value));
    running.store.commit(put(b"of the next release".to_vec())).await.expect("a commit");
    home.clock.advance(Duration::from_secs(700));
    tried(2).await;
    sleep(Duration::from_millis(200)).await;
    assert_eq!(home.on_disk().len(), 1);
    running.store.commit(put(record.value)).await.expect("a commit");
    assert_eq!(running.content(&running.told(id).await[0]).await, pdf(50));
    running.stop().await;
}
