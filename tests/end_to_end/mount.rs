//! A small file system of its own at a place of a scene: one that can be full, or read-only.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::keeper::Keeper;

/// A mounted tmpfs; it goes with the test, however the test ends.
#[derive(Debug)]
pub(crate) struct Mount {
    place: PathBuf,
    _keeper: Keeper,
}

fn mount(arguments: &[&str]) {
    let done = Command::new("mount").args(arguments).output().expect("the program `mount` is there");
    assert!(
        done.status.success(),
        "mount {arguments:?} failed: {}\nthis test needs the right to mount a tmpfs: run it as root, in a container with CAP_SYS_ADMIN",
        String::from_utf8_lossy(&done.stderr)
    );
}

impl Mount {
    /// Mounts `kibibytes` at a directory, which is made.
    pub(crate) fn new(place: &Path, kibibytes: u64) -> Self {
        std::fs::create_dir_all(place).unwrap();
        let text = place.to_str().unwrap();
        let keeper = Keeper::new(r#"umount -l "$1""#, &[text]);
        mount(&["-t", "tmpfs", "-o", &format!("size={kibibytes}k"), "tmpfs", text]);
        Self { place: place.to_owned(), _keeper: keeper }
    }

    fn remount(&self, option: &str) {
        mount(&["-o", &format!("remount,{option}"), self.place.to_str().unwrap()]);
    }

    /// Nothing can be written any more; a file that is being written at this moment is waited for.
    pub(crate) fn lock(&self) {
        for _ in 0..200 {
            let text = self.place.to_str().unwrap();
            if Command::new("mount").args(["-o", "remount,ro", text]).output().unwrap().status.success() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        self.remount("ro");
    }

    /// It can be written again.
    pub(crate) fn unlock(&self) {
        self.remount("rw");
    }

    /// Gives it another size.
    pub(crate) fn resize(&self, kibibytes: u64) {
        self.remount(&format!("size={kibibytes}k"));
    }

    /// Takes all the room there is.
    pub(crate) fn fill(&self) {
        let mut filler = File::create(self.place.join("filler")).unwrap();
        let mut piece = vec![7_u8; 64 << 10];
        loop {
            match filler.write(&piece) {
                Ok(written) if written > 0 => {}
                _ if piece.len() > 1 => piece.truncate(piece.len() / 2),
                _ => return,
            }
        }
    }

    /// Gives the room back.
    pub(crate) fn empty(&self) {
        std::fs::remove_file(self.place.join("filler")).unwrap();
    }
}
