//! Trees of files on the host to measure with, below a temporary directory that goes with them.

use std::io::Write;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{Code, Failure};

/// A tree to be: all files are equally long, and none is like another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) directories: u32,
    pub(super) files_per_directory: u32,
    pub(super) file_bytes: usize,
}

/// Trees in one place.
#[derive(Debug)]
pub(super) struct Forest(TempDir);

impl Forest {
    /// A place for trees.
    pub(super) fn new() -> Result<Forest, Failure> {
        tempfile::Builder::new().prefix("pyro-bench-").tempdir().map(Forest).map_err(unwritable)
    }

    /// Writes a tree; blocking.
    pub(super) fn plant(&self, name: &str, plan: Plan) -> Result<PathBuf, Failure> {
        let root = self.0.path().join(name);
        write(&root, plan).map_err(unwritable)?;
        Ok(root)
    }
}

/// Where file `file` of directory `directory` lies in a tree.
pub(super) fn place(directory: u32, file: u32) -> String {
    format!("{directory:04}/{file:04}.txt")
}

fn write(root: &Path, plan: Plan) -> std::io::Result<()> {
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    for directory in 0..plan.directories {
        std::fs::create_dir_all(root.join(format!("{directory:04}")))?;
        for file in 0..plan.files_per_directory {
            let mut text = noise.text(plan.file_bytes.saturating_sub(1));
            text.push(b'\n');
            std::fs::File::create_new(root.join(place(directory, file)))?.write_all(&text)?;
        }
    }
    Ok(())
}

/// Letters that follow from nothing (xorshift, Marsaglia 2003), the same ones at every run.
struct Noise(u64);

impl Noise {
    fn text(&mut self, bytes: usize) -> Vec<u8> {
        let mut text = Vec::with_capacity(bytes + 8);
        while text.len() < bytes {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            text.extend(self.0.to_le_bytes().map(|byte| b'a' + byte % 26));
        }
        text.truncate(bytes);
        text
    }
}

fn unwritable(error: std::io::Error) -> Failure {
    Failure::new(Code::System, "the trees to measure with cannot be written")
        .because(error)
        .fix("free some space in the temporary directory, or point TMPDIR elsewhere")
}

#[cfg(test)]
mod tests {
    use super::{Forest, Plan, place};

    /// A tree has the files that were planned, no two alike, and goes with its forest.
    #[test]
    fn a_tree_is_as_planned_and_goes() {
        let forest = Forest::new().unwrap();
        let root =
            forest.plant("t", Plan { directories: 2, files_per_directory: 3, file_bytes: 50 }).unwrap();
        let read = |directory, file| std::fs::read(root.join(place(directory, file))).unwrap();
        let mut files: Vec<_> =
            (0..2).flat_map(|directory| (0..3).map(move |file| (directory, file))).collect();
        files.sort_by_key(|(directory, file)| read(*directory, *file));
        files.dedup_by_key(|(directory, file)| read(*directory, *file));
        assert_eq!(files.len(), 6);
        assert!(files.iter().all(|(directory, file)| read(*directory, *file).len() == 50));
        drop(forest);
        assert!(!root.exists());
    }
}
