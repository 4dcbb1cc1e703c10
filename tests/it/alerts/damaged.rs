//! A damage that is found while a large store is used is told; what is sound goes on.

use std::fs::OpenOptions;

use super::restarted::Running;
use super::sink::Sink;
use crate::store::crashed;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damage_that_is_found_in_use_is_told() {
    let (sink, folder) = (Sink::open().await, tempfile::tempdir().expect("a folder"));
    let left = crashed(true).await;
    std::fs::rename(left.path(), folder.path().join("data")).expect("the data folder");
    // As large as one that is not checked before it is used; what is added is a hole.
    let file = OpenOptions::new().write(true).open(folder.path().join("data/store.sqlite3"));
    file.and_then(|file| file.set_len(1 << 30)).expect("a large file");

    let running = Running::start(folder.path(), &sink, false).await;
    let told = sink.until(1).await;
    assert_eq!(sink.told(), ["alert.raised store"]);
    let data = &told[0]["data"];
    let says = |field: &str, words: &str| data[field].as_str().is_some_and(|text| text.contains(words));
    assert!(says("text", "The store is damaged"), "{data}");
    assert!(says("remedy", "formgate store restore"), "{data}");
    running.end().await;
}
