//! A file system that is soon full.

use super::tools::leave_out;
use postgate::spool::disk::room_at;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

/// A small file system of its own, which takes the place of a directory.
pub struct SmallDisk<'a>(&'a Path);

impl SmallDisk<'_> {
    /// With so many octets and files (0: any number). `None` for those who may not: what
    /// needs it is left out.
    pub fn mount(at: &Path, octets: u64, files: u64) -> Option<SmallDisk<'_>> {
        let options = format!("size={octets},nr_inodes={files},mode=0700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "small"]).arg(at).output();
        if mounted.is_ok_and(|mounted| mounted.status.success()) {
            return Some(SmallDisk(at));
        }
        leave_out("only root may mount a small disk");
        None
    }

    /// Takes all room that is left.
    pub fn fill(&self) {
        self.leave(0);
    }

    /// Takes all room but so many octets.
    pub fn leave(&self, octets: u64) {
        let mut file = fs::File::create(self.0.join("filler")).unwrap();
        let has_more = || room_at(self.0).is_ok_and(|room| room.free > octets) || octets == 0;
        while has_more() && file.write_all(&[1; 4096]).is_ok() {}
    }

    pub fn relieve(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        // Lazily: the gateway of a test that failed still uses it.
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}
