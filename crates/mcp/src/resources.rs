//! Resources: what a person can attach to a conversation of a workspace: its diff, its log, its files.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use pyro::limits::DIFF_FILE_BYTES_MAX;
use pyro::results::{LoggedCommand, shell_words};
use pyro::{Code, DiffRequest, Failure, GuestPath};
use rmcp::model::{ErrorData, ReadResourceResult, Resource, ResourceContents, ResourceTemplate};
use serde_json::json;

use crate::call::Call;
use crate::limits::{HISTORY_COMMANDS_MAX, HISTORY_OUTPUT_BYTES, OUTPUT_BYTES_MAX, RESOURCE_WORKSPACES_MAX};

const SCHEME: &str = "pyro://workspaces/";

/// What a URI names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    workspace: String,
    part: Part,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Diff,
    Logs,
    File(String),
}

/// Reads a URI.
pub(crate) fn parse(uri: &str) -> Result<Place, ErrorData> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().map(|text| text.into_owned());
    let Some((workspace, part)) = uri.strip_prefix(SCHEME).and_then(|rest| rest.split_once('/')) else {
        return Err(unknown(uri));
    };
    let part = match part {
        "diff" => Part::Diff,
        "logs" => Part::Logs,
        part => match part.strip_prefix("files/").map(decoded) {
            Some(Ok(path)) if !path.is_empty() => Part::File(path),
            _ => return Err(unknown(uri)),
        },
    };
    match decoded(workspace) {
        Ok(workspace) if !workspace.is_empty() => Ok(Place { workspace, part }),
        _ => Err(unknown(uri)),
    }
}

pub(crate) fn unknown(uri: &str) -> ErrorData {
    ErrorData::resource_not_found(
        format!("there is no resource {uri:?}: resources/templates/list says what there is"),
        Some(json!({ "uri": uri })),
    )
}

/// What there is of every workspace.
pub(crate) fn templates() -> Vec<ResourceTemplate> {
    let template = |part: &str, name: &str, what: &str| {
        ResourceTemplate::new(format!("{SCHEME}{{workspace_id}}/{part}"), name).with_description(what)
    };
    vec![
        template("diff", "diff", "What changed since the workspace was made, as a git patch")
            .with_mime_type("text/x-patch"),
        template("files/{+path}", "file", "A file under /workspace"),
        template("logs", "logs", "The last commands and what they wrote").with_mime_type("text/plain"),
    ]
}

/// Diff and log of the workspaces that were used last.
pub(crate) async fn list(call: Call) -> Result<Vec<Resource>, Failure> {
    let mut workspaces = call.pyro.workspaces(&[]).await?;
    workspaces.sort_by(|one, other| other.last_used_at.cmp(&one.last_used_at));
    workspaces.truncate(RESOURCE_WORKSPACES_MAX);
    let resources = workspaces.iter().flat_map(|info| {
        let called = info.name.as_deref().unwrap_or(&info.workspace_id);
        let resource = |part: &str, mime_type: &str| {
            Resource::new(format!("{SCHEME}{}/{part}", info.workspace_id), format!("{part} of {called}"))
                .with_mime_type(mime_type)
        };
        [resource("diff", "text/x-patch"), resource("logs", "text/plain")]
    });
    Ok(resources.collect())
}

/// What is at a place.
pub(crate) async fn read(call: &Call, place: Place, uri: &str) -> Result<ReadResourceResult, Failure> {
    let contents = match &place.part {
        Part::Diff => text(diff(call, &place.workspace).await?, uri, "text/x-patch"),
        Part::Logs => ResourceContents::text(logs(call, &place.workspace)?, uri).with_mime_type("text/plain"),
        Part::File(path) => text(file(call, &place.workspace, path).await?, uri, "text/plain"),
    };
    Ok(ReadResourceResult::new(vec![contents]))
}

/// Text where it is text, else the bytes.
fn text(bytes: Vec<u8>, uri: &str, mime_type: &str) -> ResourceContents {
    match String::from_utf8(bytes) {
        Ok(text) => ResourceContents::text(text, uri).with_mime_type(mime_type),
        Err(error) => ResourceContents::blob(STANDARD.encode(error.as_bytes()), uri)
            .with_mime_type("application/octet-stream"),
    }
}

async fn diff(call: &Call, reference: &str) -> Result<Vec<u8>, Failure> {
    let mut workspace = call.workspace(reference).await?;
    let request = DiffRequest { paths: Vec::new(), file_bytes_max: DIFF_FILE_BYTES_MAX };
    let mut diff = workspace.diff(&request).await?;
    let patch_bytes = diff.patch_bytes()?;
    if patch_bytes > OUTPUT_BYTES_MAX {
        return Err(too_long("the diff", patch_bytes).fix("page through it with the tool workspace_diff"));
    }
    diff.patch_part(0, patch_bytes)
}

async fn file(call: &Call, reference: &str, path: &str) -> Result<Vec<u8>, Failure> {
    let path = GuestPath::parse(path.as_ref())?;
    let mut workspace = call.workspace(reference).await?;
    let mut contents = Vec::new();
    let take = |bytes: &[u8]| {
        contents.extend_from_slice(bytes);
        Ok(())
    };
    let file = workspace.read_file(&path, OUTPUT_BYTES_MAX, take).await?;
    if file.bytes < file.total_bytes {
        return Err(
            too_long("the file", file.total_bytes).fix("page through it with the tool workspace_file_read")
        );
    }
    Ok(contents)
}

fn too_long(what: &str, bytes: u64) -> Failure {
    Failure::new(Code::InvalidArgument, format!("{what} has {bytes} bytes"))
        .because(format!("a resource has at most {OUTPUT_BYTES_MAX}"))
}

fn logs(call: &Call, reference: &str) -> Result<String, Failure> {
    let id = call.pyro.workspace_id(reference)?;
    let mut history = call.pyro.history(&id)?;
    let earlier = history.len().saturating_sub(HISTORY_COMMANDS_MAX);
    let mut text = match earlier {
        0 => String::new(),
        earlier => format!("[{earlier} earlier commands]\n"),
    };
    for entry in history.drain(earlier..) {
        let kept = call.pyro.kept_output(&id, entry.sequence)?.map(|kept| kept.bounded(HISTORY_OUTPUT_BYTES));
        let logged = LoggedCommand::new(entry, &kept);
        let code =
            logged.entry.exit_code.map_or_else(|| logged.entry.state.to_owned(), |code| code.to_string());
        let command = shell_words(&logged.entry.argv);
        text.push_str(&format!(
            "{} [{code}] $ {command}\n{}{}",
            logged.entry.sequence, logged.stdout, logged.stderr
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

    use super::*;

    /// URIs name what they name, whatever letters a path has.
    #[test]
    fn uris_are_read() {
        let place = |part| Place { workspace: "w".to_owned(), part };
        assert_eq!(parse("pyro://workspaces/w/diff").unwrap(), place(Part::Diff));
        assert_eq!(parse("pyro://workspaces/w/logs").unwrap(), place(Part::Logs));
        for path in ["a", "a/b c", "100%", "ä?#", "..//x"] {
            let uri = format!("pyro://workspaces/w/files/{}", utf8_percent_encode(path, NON_ALPHANUMERIC));
            assert_eq!(parse(&uri).unwrap(), place(Part::File(path.to_owned())));
        }
        for wrong in [
            "",
            "pyro://workspaces/w",
            "pyro://workspaces//diff",
            "pyro://workspaces/w/x",
            "file:///etc/passwd",
            "pyro://workspaces/w/files/",
            "pyro://workspaces/w/files/%ff",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
