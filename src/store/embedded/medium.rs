//! What kind of file system the data folder is on.
//!
//! SQLite's log needs shared memory and locks that all processes see alike, and a sync that reaches the disk. A file system of
//! another machine promises neither, and breaks both without a word; so it is refused before anything is written there.

use std::path::Path;

use super::OpenError;

/// What a file system is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Fine,
    /// Some of its kind keep what was synced, some do not; nobody can tell from here.
    Doubtful(&'static str),
    Refused(&'static str),
}

/// By the number that the kernel has for each kind (statfs(2), and the kernel's own `magic.h`).
fn verdict(kind: u32) -> Verdict {
    match kind {
        0x0000_6969 => Verdict::Refused("NFS"),
        0x0000_517b | 0xff53_4d42 | 0xfe53_4d42 => Verdict::Refused("SMB"),
        0x5346_414f | 0x6b41_4653 => Verdict::Refused("AFS"),
        0x7375_7245 => Verdict::Refused("Coda"),
        0x0000_564c => Verdict::Refused("NCP"),
        0x00c3_6400 => Verdict::Refused("CephFS"),
        0x0bd0_0bd0 => Verdict::Refused("Lustre"),
        0x1983_0326 => Verdict::Refused("BeeGFS"),
        // A folder that a virtual machine or a container has of its host, or of anything else.
        0x0102_1997 => Verdict::Doubtful("9p"),
        0x6573_5546 => Verdict::Doubtful("FUSE"),
        0x786f_4256 => Verdict::Doubtful("a shared folder of VirtualBox"),
        _ => Verdict::Fine,
    }
}

#[cfg(target_os = "linux")]
fn of(directory: &Path) -> Verdict {
    // The number is 32 bits wide, whatever the width of its field. What cannot be asked is found out when it is opened.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the kernel's numbers have 32 bits"
    )]
    rustix::fs::statfs(directory).map_or(Verdict::Fine, |found| verdict(found.f_type as u32))
}

#[cfg(not(target_os = "linux"))]
fn of(_directory: &Path) -> Verdict {
    Verdict::Fine
}

/// Refuses a folder in which what was synced is not safe.
pub(super) fn check(directory: &Path) -> Result<(), OpenError> {
    match of(directory) {
        Verdict::Fine => Ok(()),
        Verdict::Doubtful(kind) => {
            tracing::warn!(
                directory = %directory.display(),
                kind,
                "the data folder may be of another machine; what is synced there is only safe if it is a disk of this one"
            );
            Ok(())
        }
        Verdict::Refused(kind) => Err(OpenError::OtherMachine { directory: directory.to_owned(), kind }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_of_other_machines_are_refused_by_name_and_those_of_disks_are_not() {
        let named = |name| Verdict::Refused(name);
        for (kind, expected) in [
            (0x6969, named("NFS")),
            (0xff53_4d42, named("SMB")),
            (0xfe53_4d42, named("SMB")),
            (0x00c3_6400, named("CephFS")),
            (0x6573_5546, Verdict::Doubtful("FUSE")),
            (0x0102_1997, Verdict::Doubtful("9p")),
            // ext4, XFS, Btrfs, ZFS, F2FS, tmpfs, overlayfs.
            (0xef53, Verdict::Fine),
            (0x5846_5342, Verdict::Fine),
            (0x9123_683e, Verdict::Fine),
            (0x2fc1_2fc1, Verdict::Fine),
            (0xf2f5_2010, Verdict::Fine),
            (0x0102_1994, Verdict::Fine),
            (0x794c_7630, Verdict::Fine),
        ] {
            assert_eq!(verdict(kind), expected, "{kind:#x}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_kernel_is_asked_about_the_folder_itself() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(check(folder.path()).is_ok());
        assert_eq!(rustix::fs::statfs("/proc").map(|found| found.f_type as u32), Ok(0x9fa0));
        assert_eq!(rustix::fs::statfs("/dev/shm").map(|found| found.f_type as u32), Ok(0x0102_1994));
    }

    #[test]
    fn the_refusal_names_the_way_out() {
        let refused = OpenError::OtherMachine { directory: "/srv/formgate".into(), kind: "NFS" };
        let told = refused.to_string();
        assert!(
            told.contains("/srv/formgate is on NFS") && told.contains("a disk of this machine"),
            "{told}"
        );
    }
}
