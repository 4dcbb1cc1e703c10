//! A disk that loses what was not synced, or fails: `powerloss.c`, preloaded into the program.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rand::RngExt as _;
use rand::rngs::SmallRng;
use tempfile::TempDir;

use super::process::{Gate, Process};

const PAGE: usize = 4096;

/// What a power loss leaves of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    Nothing,
    /// Each page with even chances, and each length and new name, too.
    Half,
}

/// What survives a power loss, beside the folder that the program sees.
pub struct Disk {
    root: PathBuf,
    shadow: TempDir,
}

/// The library that is preloaded, made by the system's compiler.
pub fn library() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (half, whole) =
            (folder.join(format!("powerloss.{}", std::process::id())), folder.join("powerloss.so"));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/powerloss.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"]).arg(&half);
        let status = compiler.args([source, "-ldl", "-lpthread"]).status().expect("a C compiler");
        assert!(status.success(), "powerloss.c does not compile");
        fs::rename(half, &whole).expect("the library");
        whole
    })
}

impl Disk {
    pub fn of(gate: &Gate) -> Disk {
        Disk { root: gate.kept(), shadow: tempfile::tempdir().expect("a folder") }
    }

    /// The disk that this folder stands for.
    pub fn at(root: &Path) -> Disk {
        fs::create_dir(root).expect("a folder");
        Disk { root: root.to_owned(), shadow: tempfile::tempdir().expect("a folder") }
    }

    /// Writes a program that is another on this disk, which is whole whenever it starts.
    pub fn program(&self, program: &Path, path: &Path) {
        let (library, root) = (library().display(), self.root.display());
        let (shadow, program) = (self.shadow.path().display(), program.display());
        let script = format!(
            "#!/bin/sh\nrm -f '{shadow}'/*\nexport LD_PRELOAD='{library}'\n\
             export POWERLOSS_ROOT='{root}' POWERLOSS_SHADOW='{shadow}'\nexec '{program}' \"$@\"\n"
        );
        fs::write(path, script).expect("a file");
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).expect("a program");
    }

    /// Starts the program on this disk, which is whole at this moment.
    pub fn spawn(&mut self, gate: &Gate, variables: &[(&str, &str)]) -> Process {
        self.shadow = tempfile::tempdir().expect("a folder");
        let shadow = self.shadow.path().to_str().expect("a path");
        let (root, library) = (self.root.to_str().expect("a path"), library().to_str().expect("a path"));
        let disk = [("LD_PRELOAD", library), ("POWERLOSS_ROOT", root), ("POWERLOSS_SHADOW", shadow)];
        gate.spawn_with(&[&disk, variables].concat())
    }

    /// The power is gone, and the program with it: puts the folder into the state in which it is found afterwards.
    pub fn lose(&self, left: Left, dice: &mut SmallRng) {
        let Ok(names) = fs::read_to_string(self.shadow.path().join("names")) else {
            // It died before it had written anything.
            return;
        };
        let found = self.root.with_extension("found");
        fs::create_dir(&found).expect("a folder");
        let mut kept = BTreeMap::new();
        for line in names.lines() {
            let mut parts = line.splitn(3, ' ');
            let mut part = || parts.next().expect("a key, an inode and a path").to_owned();
            let (key, inode, path) = (part(), part().parse::<u64>().expect("a number"), part());
            kept.insert(PathBuf::from(path), (key, inode));
        }
        // A folder comes before what is in it.
        for (path, (key, inode)) in &kept {
            let to = found.join(path);
            if to.parent().is_none_or(|folder| !folder.exists()) {
                continue;
            }
            if key == "0" {
                fs::create_dir(&to).expect("a folder");
                continue;
            }
            let mut bytes = fs::read(self.shadow.path().join(key)).unwrap_or_default();
            let seen = self.root.join(path);
            let same = fs::metadata(&seen).is_ok_and(|seen| seen.ino() == *inode);
            if left == Left::Half && same {
                mix(&mut bytes, &fs::read(&seen).expect("a file"), dice);
            }
            fs::write(&to, bytes).expect("a file");
        }
        if left == Left::Half {
            self.new_names(Path::new(""), &found, dice);
        }
        fs::remove_dir_all(&self.root).expect("the folder goes");
        fs::rename(found, &self.root).expect("the folder is there again");
    }

    /// Names that no sync has made safe may be there all the same.
    fn new_names(&self, folder: &Path, found: &Path, dice: &mut SmallRng) {
        for entry in fs::read_dir(self.root.join(folder)).expect("a folder") {
            let entry = entry.expect("an entry");
            let path = folder.join(entry.file_name());
            let (to, kind) = (found.join(&path), entry.file_type().expect("a kind"));
            if kind.is_dir() {
                if to.exists() || dice.random() {
                    fs::create_dir_all(&to).expect("a folder");
                    self.new_names(&path, found, dice);
                }
            } else if kind.is_file() && !to.exists() && dice.random() {
                let mut bytes = Vec::new();
                mix(&mut bytes, &fs::read(entry.path()).expect("a file"), dice);
                fs::write(to, bytes).expect("a file");
            }
        }
    }
}

/// Lets each page and the length be the old or the new one. What is in neither is zero.
fn mix(old: &mut Vec<u8>, new: &[u8], dice: &mut SmallRng) {
    let length = if dice.random() { old.len() } else { new.len() };
    old.resize(old.len().max(new.len()), 0);
    for (old, new) in old.chunks_mut(PAGE).zip(new.chunks(PAGE)) {
        if let Some(old) = old.get_mut(..new.len()).filter(|_| dice.random()) {
            old.copy_from_slice(new);
        }
    }
    old.truncate(length);
}
