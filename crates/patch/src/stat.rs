//! How much changes, per file: the table that `git diff --stat` shows.

use crate::limits::{STAT_BAR_COLUMNS_MAX, STAT_NAME_COLUMNS_MAX};
use crate::quote::quote;

/// How much changes in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileStat {
    /// Its path.
    pub path: Vec<u8>,
    /// How much.
    pub lines: Lines,
}

/// How much changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// Lines of a text; none when its mode alone changes.
    Text {
        /// Lines that come.
        inserted: u64,
        /// Lines that go.
        deleted: u64,
    },
    /// Bytes of a file that is no text.
    Bytes {
        /// Its length before.
        before: u64,
        /// And after.
        after: u64,
    },
}

impl Lines {
    /// Adds a second section of the same path; bytes win over lines.
    pub(crate) fn add(&mut self, other: Lines) {
        *self = match (*self, other) {
            (Lines::Text { inserted, deleted }, Lines::Text { inserted: more, deleted: less }) => {
                Lines::Text { inserted: inserted + more, deleted: deleted + less }
            }
            (Lines::Bytes { before, after }, Lines::Bytes { before: old, after: new }) => {
                Lines::Bytes { before: before + old, after: after + new }
            }
            (bytes @ Lines::Bytes { .. }, _) | (_, bytes) => bytes,
        };
    }
}

/// The table of these files, a line for each and one with the sums. Names are quoted as in a patch, so that no
/// name passes for something else on a terminal.
pub fn stat(files: &[FileStat]) -> String {
    let names: Vec<String> = files.iter().map(|file| shown(&file.path)).collect();
    let name_columns = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let totals = files.iter().filter_map(|file| match file.lines {
        Lines::Text { inserted, deleted } => Some(inserted.saturating_add(deleted)),
        Lines::Bytes { .. } => None,
    });
    let most = totals.max().unwrap_or(0);
    let is_any_binary = files.iter().any(|file| matches!(file.lines, Lines::Bytes { .. }));
    let number_columns = most.to_string().len().max(if is_any_binary { "Bin".len() } else { 1 });
    let mut table = String::new();
    for (file, name) in files.iter().zip(&names) {
        table += &format!(" {name:name_columns$} | ");
        match file.lines {
            Lines::Text { inserted, deleted } => {
                let (plus, minus) = bar(inserted, deleted, most);
                table += &format!("{:number_columns$}", inserted.saturating_add(deleted));
                if plus + minus > 0 {
                    table += &format!(" {}{}", "+".repeat(plus), "-".repeat(minus));
                }
            }
            Lines::Bytes { before, after } => {
                table += &format!("{:>number_columns$} {before} -> {after} bytes", "Bin");
            }
        }
        table.push('\n');
    }
    table + &sums(files)
}

fn sums(files: &[FileStat]) -> String {
    let (mut inserted, mut deleted) = (0u64, 0u64);
    for file in files {
        if let Lines::Text { inserted: more, deleted: less } = file.lines {
            inserted = inserted.saturating_add(more);
            deleted = deleted.saturating_add(less);
        }
    }
    let count =
        |count: u64, one: &str, more: &str| format!("{count} {}", if count == 1 { one } else { more });
    let mut line = format!(" {}", count(files.len() as u64, "file changed", "files changed"));
    if inserted > 0 || deleted == 0 {
        line += &format!(", {}", count(inserted, "insertion(+)", "insertions(+)"));
    }
    if deleted > 0 || inserted == 0 {
        line += &format!(", {}", count(deleted, "deletion(-)", "deletions(-)"));
    }
    line + "\n"
}

/// Columns of `+` and `-`, to scale when the largest would not fit. What changes at all is seen.
fn bar(inserted: u64, deleted: u64, most: u64) -> (usize, usize) {
    let scaled = |count: u64| {
        let columns = if most <= STAT_BAR_COLUMNS_MAX {
            count
        } else {
            (u128::from(count) * u128::from(STAT_BAR_COLUMNS_MAX)).div_ceil(u128::from(most)) as u64
        };
        usize::try_from(columns).unwrap_or(0)
    };
    (scaled(inserted), scaled(deleted))
}

fn shown(path: &[u8]) -> String {
    let name = String::from_utf8_lossy(&quote("", path)).into_owned();
    let columns = name.chars().count();
    if columns <= STAT_NAME_COLUMNS_MAX {
        return name;
    }
    let tail: String = name.chars().skip(columns - (STAT_NAME_COLUMNS_MAX - 3)).collect();
    format!("...{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, lines: Lines) -> FileStat {
        FileStat { path: path.into(), lines }
    }

    /// The table has a line for each file, to scale, and the sums below.
    #[test]
    fn tables_look_like_gits() {
        let table = stat(&[
            file("a", Lines::Text { inserted: 2, deleted: 1 }),
            file("longer", Lines::Text { inserted: 48, deleted: 0 }),
            file("b\n", Lines::Bytes { before: 3, after: 10 }),
            file("mode", Lines::Text { inserted: 0, deleted: 0 }),
        ]);
        assert_eq!(
            table,
            " a      |   3 +-\n longer |  48 ++++++++++++++++++++++++\n \"b\\n\"  | Bin 3 -> 10 bytes\n mode   |   0\n 4 files changed, 50 insertions(+), 1 deletion(-)\n"
        );
        assert_eq!(stat(&[]), " 0 files changed, 0 insertions(+), 0 deletions(-)\n");
        assert!(stat(&[file(&"n".repeat(80), Lines::Text { inserted: 1, deleted: 0 })]).contains(" ...nnn"));
    }
}
