//! The backups in a folder, by their names, which are times. What has another name is somebody's own.
//!
//! A name may be a time that has not come, after a clock that ran ahead: then nobody knows when that backup was made.

use std::io;
use std::path::{Path, PathBuf};

/// How a backup's name ends.
pub(super) const SUFFIX: &str = ".formgate-backup";
/// How it begins: when it was made, in UTC.
pub(super) const NAME: &str = "%Y%m%dT%H%M%S%3fZ";

/// Backups with their times; each list the oldest first.
#[derive(Debug)]
pub(super) struct Dated {
    /// Those whose time has come.
    pub past: Vec<(i64, PathBuf)>,
    /// Those whose time has not come.
    pub later: Vec<(i64, PathBuf)>,
}

impl Dated {
    /// Those in this folder.
    pub(super) fn read(folder: &Path, now_ms: i64) -> io::Result<Dated> {
        let found = with_suffix(folder, SUFFIX)?.into_iter();
        let mut past: Vec<(i64, PathBuf)> = found.filter_map(|path| Some((made_ms(&path)?, path))).collect();
        past.sort_unstable();
        let later = past.split_off(past.partition_point(|(made_ms, _)| *made_ms <= now_ms));
        Ok(Dated { past, later })
    }
}

/// Deletes all but so many: first those that claim to be later than the one that was just made, then the oldest.
pub(super) fn prune(folder: &Path, keep: usize, just_made: &Path) -> io::Result<()> {
    let Dated { past, later } = Dated::read(folder, made_ms(just_made).unwrap_or(i64::MAX))?;
    let too_many = (past.len() + later.len()).saturating_sub(keep);
    for (_, path) in later.into_iter().chain(past).take(too_many) {
        super::remove(&path)?;
    }
    Ok(())
}

/// The files in a folder whose names end so.
pub(super) fn with_suffix(folder: &Path, suffix: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(suffix)) {
            found.push(path);
        }
    }
    Ok(found)
}

/// When a backup was made, by its name.
fn made_ms(path: &Path) -> Option<i64> {
    let name = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?;
    // As NAME writes it: 20261125T090807654Z.
    let part = |from: usize, to: usize| name.get(from..to);
    if name.len() != 19 || part(18, 19) != Some("Z") {
        return None;
    }
    let date = format!("{}-{}-{}", part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let time = format!("{}:{}:{}.{}", part(9, 11)?, part(11, 13)?, part(13, 15)?, part(15, 18)?);
    let at: jiff::Timestamp = format!("{date}{}{time}Z", part(8, 9)?).parse().ok()?;
    Some(at.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> jiff::Timestamp {
        "2026-11-25T09:08:07.654Z".parse().expect("a time")
    }

    /// The name of one that was made so many hours before that.
    fn name(hours_before: i64) -> String {
        format!("{}{SUFFIX}", (at() - jiff::SignedDuration::from_hours(hours_before)).strftime(NAME))
    }

    fn folder<'a>(names: impl IntoIterator<Item = &'a String>) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for name in names {
            std::fs::write(folder.path().join(name), "x").expect("a file");
        }
        folder
    }

    /// What is in a folder, by name.
    fn left(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).expect("a folder");
        let mut left: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
        left.sort_unstable();
        left
    }

    #[test]
    fn a_backup_s_age_is_in_its_name_and_nothing_else_is_deleted() {
        assert_eq!(made_ms(Path::new(&name(0))), Some(at().as_millisecond()));
        for other in
            ["notes.formgate-backup", "20261125T090807654Z.txt", "20261125T090807654Zé.formgate-backup", ""]
        {
            assert_eq!(made_ms(Path::new(other)), None, "{other}");
        }
        let others = ["notes.formgate-backup".to_owned(), "other.txt".to_owned()];
        let names: Vec<String> = (1..=5).map(name).collect();
        let folder = folder(names.iter().chain(&others));
        prune(folder.path(), 2, &folder.path().join(&names[0])).expect("a folder");
        let [notes, other] = others;
        assert_eq!(left(folder.path()), [names[1].clone(), names[0].clone(), notes, other]);
    }

    #[test]
    fn a_backup_of_a_time_to_come_is_apart_and_the_first_to_be_deleted() {
        let (old, made, next, last) = (name(6), name(0), name(-1), name(-24 * 365));
        let folder = folder([&old, &made, &next, &last]);
        let path = |name: &String| folder.path().join(name);
        let dated = Dated::read(folder.path(), at().as_millisecond()).expect("a folder");
        let paths =
            |list: &[(i64, PathBuf)]| list.iter().map(|(_, path)| path.clone()).collect::<Vec<PathBuf>>();
        assert_eq!(paths(&dated.past), [path(&old), path(&made)]);
        assert_eq!(paths(&dated.later), [path(&next), path(&last)]);
        for (keep, wanted) in [
            (4, vec![&old, &made, &next, &last]),
            (3, vec![&old, &made, &last]),
            (2, vec![&old, &made]),
            (1, vec![&made]),
        ] {
            prune(folder.path(), keep, &path(&made)).expect("a folder");
            assert_eq!(left(folder.path()).iter().collect::<Vec<_>>(), wanted, "{keep}");
        }
    }
}
