//! Bodies that are sent in pieces: whole or not at all, and no faster than the peer takes them.

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use formgate::client::Upload;
use tokio::sync::mpsc;

use super::*;

type Taken = Arc<Mutex<Vec<u8>>>;

/// A peer that reads what comes until there is no more, and answers once the body is as long as announced.
async fn taking() -> (u16, Taken) {
    let taken = Taken::default();
    let kept = Arc::clone(&taken);
    let (port, _) = peer(move |mut stream| {
        let kept = Arc::clone(&kept);
        async move {
            let head = read_head(&mut stream).await.to_lowercase();
            assert!(!head.contains("transfer-encoding"), "{head}");
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
            let length: usize = length.and_then(|length| length.parse().ok()).expect("a length");
            let mut piece = vec![0; 4096];
            loop {
                let read = stream.read(&mut piece).await.unwrap_or(0);
                let mut kept = kept.lock().expect("no panic under the lock");
                kept.extend_from_slice(&piece[..read]);
                if read == 0 {
                    return;
                }
                if kept.len() >= length {
                    break;
                }
            }
            let _gone = stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nok").await;
        }
    })
    .await;
    (port, taken)
}

/// Sends these pieces and says that they are so long together.
async fn send(port: u16, pieces: Vec<&'static str>, announced: u64) -> Result<Response, Error> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        for piece in pieces {
            if sender.send(Bytes::from(piece)).await.is_err() {
                return;
            }
        }
    });
    let mut request = to(&format!("http://127.0.0.1:{port}/"), SOON);
    request.method = Method::POST;
    let body = Upload::new(Bytes::from("<"), announced, receiver, Bytes::from(">"));
    Client::new().upload(request, body).await
}

#[tokio::test]
async fn pieces_arrive_as_one_body_of_the_length_that_was_told() {
    for (pieces, whole) in [(vec!["one", "", "two"], "<onetwo>"), (vec![], "<>")] {
        let (port, taken) = taking().await;
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        let answered = send(port, pieces, length as u64).await.expect("an answer");
        assert_eq!((answered.status.as_u16(), &answered.body[..]), (201, &b"ok"[..]));
        assert_eq!(String::from_utf8_lossy(&taken.lock().expect("bytes")), whole);
    }
}

#[tokio::test]
async fn pieces_that_are_not_what_was_told_fail_the_call_and_never_make_a_whole_body() {
    for (pieces, announced) in [(vec!["one"], 6), (vec!["one", "two"], 5), (vec![], 1)] {
        let (port, taken) = taking().await;
        let failed = send(port, pieces.clone(), announced).await.expect_err("it is not whole");
        assert!(failed.is_retryable(), "{pieces:?}: {failed:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
        let taken = taken.lock().expect("bytes").len() as u64;
        assert!(taken < announced + 2, "{pieces:?}: {taken} bytes");
    }
}

#[tokio::test]
async fn a_peer_that_takes_nothing_slows_whoever_makes_the_pieces() {
    const PIECE: u64 = 64 * 1024;
    const WHOLE: u64 = 256 * 1024 * 1024;
    let (port, _) = peer(|mut stream| async move {
        read_head(&mut stream).await;
        std::future::pending().await
    })
    .await;
    let (sender, receiver) = mpsc::channel(2);
    let made = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&made);
    tokio::spawn(async move {
        while sender.send(Bytes::from(vec![0; PIECE as usize])).await.is_ok() {
            counted.fetch_add(PIECE, Ordering::SeqCst);
        }
    });
    let mut request = to(&format!("http://127.0.0.1:{port}/"), Duration::from_secs(4));
    request.method = Method::POST;
    let body = Upload::new(Bytes::new(), WHOLE, receiver, Bytes::new());
    let late = Client::new().upload(request, body).await.expect_err("nobody answers");
    assert!(matches!(late, Error::Deadline { sent: Sent::Maybe }), "{late:?}");
    // The rest is in the system's buffers.
    let made = made.load(Ordering::SeqCst);
    assert!(made < 32 * 1024 * 1024, "{made} bytes were made for nobody");
}
