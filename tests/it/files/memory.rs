//! What files cost in memory.

use formgate::player::media::Encrypted;
use serde_json::Value;

use super::home::{Home, limits, pdf};

/// A figure of this process from /proc, in KiB.
fn memory_kib(figure: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with(figure)).expect("the figure");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
fn a_hundred_mebibytes_pass_through_a_few() {
    // In a process of its own, so that the memory is this test's.
    let name = "files::memory::a_hundred_mebibytes_pass_through_a_few";
    if std::env::args().all(|argument| argument != "--exact") {
        let itself = std::env::current_exe().expect("a test");
        let ended = std::process::Command::new(itself).args(["--exact", name, "--nocapture"]).status();
        return assert!(ended.expect("it runs").success());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(pass_a_hundred_mebibytes());
}

async fn pass_a_hundred_mebibytes() {
    let home = Home::new().await;
    let running = home.start();
    let warm = running.accept(&[home.upload("a.pdf", &pdf(3 << 20))], &limits(&[], 25_600)).await;
    running.settled(warm).await;
    // What the servers hold is there before, at its full size.
    let whole = Encrypted::of(&pdf(25 << 20));
    let uploads: Vec<Value> = (0..4).map(|_| home.put("a.pdf", &whole)).collect();
    drop(whole);
    std::fs::write("/proc/self/clear_refs", "5").expect("the peak is reset");
    let before_kib = memory_kib("VmRSS");
    let id = running.accept(&uploads, &limits(&[], 25_600)).await;
    let told = running.settled(id).await;
    assert!(told.iter().all(|file| file["size_bytes"] == 25 << 20), "{told:?}");
    let fetched_kib = memory_kib("VmHWM").saturating_sub(before_kib);
    let token = told[0]["url"].as_str().expect("a link").rsplit('/').next().expect("a token");
    let mut download = running.outbox.download(token).await.expect("a file");
    let mut bytes = 0;
    while let Some(piece) = download.pieces.recv().await {
        bytes += piece.len();
    }
    assert_eq!(bytes, 25 << 20);
    let peak_kib = memory_kib("VmHWM").saturating_sub(before_kib);
    println!(
        "100 MiB fetched and 25 MiB handed out: {fetched_kib} KiB, then {peak_kib} KiB more at the peak"
    );
    assert!(peak_kib < 12 * 1_024, "{peak_kib} KiB");
    running.stop().await;
}
