//! Reading, on connections that cannot write, so that a long list never delays an acceptance.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use super::schema;
use crate::store::Error;

/// Connections, and so reads at one time.
const READERS: usize = 4;
/// How long a read may wait for a connection.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// The connections that are free, and a permit for each.
pub(super) struct Readers {
    free: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
}

/// A connection under a read.
struct Lent<'f> {
    connection: Option<Connection>,
    free: &'f Mutex<Vec<Connection>>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).extend(self.connection.take());
    }
}

impl Readers {
    pub(super) fn open(path: &Path) -> rusqlite::Result<Self> {
        let free = (0..READERS)
            .map(|_| {
                let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                let connection = Connection::open_with_flags(path, flags)?;
                schema::prepare_any(&connection)?;
                connection.pragma_update(None, "query_only", true)?;
                Ok(connection)
            })
            .collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(Self { free: Arc::new(Mutex::new(free)), permits: Arc::new(Semaphore::new(READERS)) })
    }

    /// Runs a read on a blocking thread.
    pub(super) async fn read<T, F>(&self, read: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let permit = tokio::time::timeout(MAX_WAIT, Arc::clone(&self.permits).acquire_owned())
            .await
            .map_err(|_elapsed| Error::Busy)?
            .map_err(|_closed| Error::Unavailable)?;
        let free = Arc::clone(&self.free);
        tokio::task::spawn_blocking(move || {
            let connection =
                free.lock().unwrap_or_else(PoisonError::into_inner).pop().ok_or(Error::Unavailable)?;
            // Given back also by a read that panics, before its permit is: otherwise there are fewer for ever.
            let lent = Lent { connection: Some(connection), free: &free };
            let result =
                lent.connection.as_ref().map_or(Err(Error::Unavailable), |it| read(it).map_err(Error::Read));
            drop(lent);
            drop(permit);
            result
        })
        .await
        .unwrap_or(Err(Error::Unavailable))
    }

    /// Ends reading: waits for reads under way, then closes the connections.
    pub(super) async fn close(&self) {
        if let Ok(all) = self.permits.acquire_many(READERS as u32).await {
            all.forget();
            self.permits.close();
        }
        self.free.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reads_that_panic_take_no_connection_with_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("store.sqlite3");
        let file = Connection::open(&path).expect("a file");
        schema::prepare_writer(&file).expect("settings");
        let readers = Readers::open(&path).expect("readers");
        for _ in 0..=READERS {
            let failed = readers.read::<(), _>(|_| panic!("a test wants this panic")).await;
            assert!(matches!(failed, Err(Error::Unavailable)));
        }
        let answer = readers.read(|it| it.query_row("SELECT 1", [], |row| row.get::<_, i64>(0))).await;
        assert!(matches!(answer, Ok(1)), "{answer:?}");
        readers.close().await;
    }
}
