//! Single files of a workspace.

use pyro::results::{ExportedResult, FileContent, FileListing, FileWritten};
use pyro::{Failure, FileEntry, GuestPath};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Arguments, Effect, Tool};
use crate::answer::Answer;
use crate::call::Call;
use crate::limits::{FILE_BYTES_DEFAULT, LISTED_MAX, OUTPUT_BYTES_MAX};
use crate::profile::Profile;

pub(super) fn add(tools: &mut Vec<Tool>) {
    tools.push(Tool::new::<FileList>(Profile::WorkspaceCore));
    tools.push(Tool::new::<FileRead>(Profile::WorkspaceCore));
    tools.push(Tool::new::<FileWrite>(Profile::WorkspaceCore));
    tools.push(Tool::new::<Export>(Profile::WorkspaceFull));
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FileList {
    workspace_id: String,
    /// Default /workspace.
    path: Option<String>,
    #[serde(default)]
    recursive: bool,
}

/// A listing, and how much of it is not here.
#[derive(Debug, Serialize, JsonSchema)]
struct Listed {
    #[serde(flatten)]
    listing: FileListing,
    /// Entries that are not here.
    more: u64,
}

impl Arguments for FileList {
    const NAME: &'static str = "workspace_file_list";
    const DESCRIPTION: &'static str = "List a directory under /workspace.";
    const EFFECT: Effect = Effect::Reads;
    type Output = Listed;

    async fn run(self, call: &Call) -> Result<Answer<Listed>, Failure> {
        let path =
            self.path.as_deref().map_or(Ok(GuestPath::root()), |path| GuestPath::parse(path.as_ref()))?;
        let mut workspace = call.workspace(&self.workspace_id).await?;
        let (mut entries, mut more) = (Vec::new(), 0);
        let take = |entry: FileEntry| {
            match entries.len() < LISTED_MAX {
                true => entries.push(entry),
                false => more += 1,
            }
            Ok(())
        };
        workspace.list_files(&path, self.recursive, take).await?;
        let mut text: String = entries.iter().map(|entry| line(entry) + "\n").collect();
        if more > 0 {
            text.push_str(&format!("[{more} more: list a directory below, or use workspace_exec with find]"));
        }
        let listing = FileListing {
            workspace_id: workspace.id().to_owned(),
            path: path.to_string(),
            recursive: self.recursive,
            count: entries.len(),
            entries,
        };
        Ok(Answer::new(Listed { listing, more }, text))
    }
}

fn line(entry: &FileEntry) -> String {
    let target = entry.link_target.as_ref().map(|target| format!(" -> {target}")).unwrap_or_default();
    format!("{} {} {}{target}", entry.artifact_type, entry.size_bytes, entry.path)
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FileRead {
    workspace_id: String,
    path: String,
    /// First byte.
    #[serde(default)]
    cursor: u64,
    max_bytes: Option<u64>,
}

/// A part of a file.
#[derive(Debug, Serialize, JsonSchema)]
struct FilePart {
    #[serde(flatten)]
    content: FileContent,
    cursor: u64,
    /// The byte to go on from; none at the end.
    next_cursor: Option<u64>,
}

impl Arguments for FileRead {
    const NAME: &'static str = "workspace_file_read";
    const DESCRIPTION: &'static str = "Read a text file under /workspace.";
    const EFFECT: Effect = Effect::Reads;
    type Output = FilePart;

    async fn run(self, call: &Call) -> Result<Answer<FilePart>, Failure> {
        let path = GuestPath::parse(self.path.as_ref())?;
        let bytes_max = self.max_bytes.unwrap_or(FILE_BYTES_DEFAULT).clamp(1, OUTPUT_BYTES_MAX);
        let mut workspace = call.workspace(&self.workspace_id).await?;
        let (mut contents, mut passed) = (Vec::new(), 0u64);
        let take = |bytes: &[u8]| {
            let before = usize::try_from(self.cursor.saturating_sub(passed)).unwrap_or(usize::MAX);
            contents.extend_from_slice(bytes.get(before.min(bytes.len())..).unwrap_or_default());
            passed += bytes.len() as u64;
            Ok(())
        };
        let mut file = workspace.read_file(&path, self.cursor.saturating_add(bytes_max), take).await?;
        let is_cut = file.bytes < file.total_bytes;
        if is_cut {
            contents.truncate(whole_letters(&contents));
        }
        file.bytes = contents.len() as u64;
        let next = self.cursor + file.bytes;
        let next_cursor = (next < file.total_bytes).then_some(next);
        let content = FileContent::new(&workspace, file, &contents);
        let mut text = content.content.clone();
        if let Some(next) = next_cursor {
            text.push_str(&format!("\n[bytes {next} to {}: go on with cursor={next}]", content.size_bytes));
        }
        if !content.content_is_exact {
            text.push_str("\n[not UTF-8: bytes were replaced]");
        }
        Ok(Answer::new(FilePart { content, cursor: self.cursor, next_cursor }, text))
    }
}

/// Bytes up to which no letter is cut in two; of what is no UTF-8, all.
fn whole_letters(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => error.valid_up_to(),
        _ => bytes.len(),
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FileWrite {
    workspace_id: String,
    path: String,
    text: String,
    /// Octal.
    mode: Option<String>,
}

impl Arguments for FileWrite {
    const NAME: &'static str = "workspace_file_write";
    const DESCRIPTION: &'static str = "Write a text file under /workspace, with its directories.";
    const EFFECT: Effect = Effect::Destroys;
    const WHOLE_PROFILE_ONLY: &'static [&'static str] = &["mode"];
    type Output = FileWritten;

    async fn run(self, call: &Call) -> Result<Answer<FileWritten>, Failure> {
        let path = GuestPath::parse(self.path.as_ref())?;
        let mode = self.mode.as_deref().map(pyro::parse_mode).transpose()?;
        let mut workspace = call.workspace(&self.workspace_id).await?;
        let contents = std::io::Cursor::new(self.text.into_bytes());
        let bytes_written = workspace.write_file(&path, Box::new(contents), mode).await?;
        let written = FileWritten {
            workspace_id: workspace.id().to_owned(),
            path: path.to_string(),
            bytes_written,
            origin: (&workspace).into(),
        };
        let text = format!("path={} bytes_written={bytes_written}", written.path);
        Ok(Answer::new(written, text))
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Export {
    workspace_id: String,
    /// Under /workspace.
    path: String,
    /// A new file or directory of the project.
    output_path: String,
}

impl Arguments for Export {
    const NAME: &'static str = "workspace_export";
    const DESCRIPTION: &'static str = "Copy a file or directory of a workspace to a new place in the project, without the permission to execute. Not what the host runs by itself.";
    const EFFECT: Effect = Effect::Adds;
    type Output = ExportedResult;

    async fn run(self, call: &Call) -> Result<Answer<ExportedResult>, Failure> {
        let path = GuestPath::parse(self.path.as_ref())?;
        let mut workspace = call.workspace(&self.workspace_id).await?;
        let _alone = call.writing_to_host().await;
        let output = call.options().project.writable(&self.output_path)?;
        let exported = workspace.export_harmless(&path, &output.place, output.tree).await?;
        if path == GuestPath::root() && exported.left_out.is_empty() {
            call.pyro.note_taken(&workspace)?;
        }
        let result = ExportedResult::new(&workspace, &path, exported);
        let mut text = format!(
            "output_path={} entry_count={} bytes_written={}",
            result.output_path.display(),
            result.entry_count,
            result.bytes_written
        );
        for left_out in &result.left_out {
            text.push_str(&format!("\nnot exported: {left_out}"));
        }
        Ok(Answer::new(result, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A part of a text ends with a whole letter.
    #[test]
    fn letters_are_whole() {
        assert_eq!(whole_letters("aä".as_bytes()), 3);
        assert_eq!(whole_letters(b"a\xc3"), 1);
        assert_eq!(whole_letters(b"\xff\xfe"), 2);
    }
}
