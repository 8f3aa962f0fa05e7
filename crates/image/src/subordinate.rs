//! The subordinate ids an ordinary user has: `/etc/subuid` and `/etc/subgid`, subuid(5). It only reads.

use std::fs;

use crate::child::ToolError;
use crate::tools::Tool;

/// A user namespace's map for a user: himself as root, his subordinate ids as everybody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SubordinateIds {
    uid: u32,
    gid: u32,
    uids: Range,
    gids: Range,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: u32,
    count: u32,
}

/// Ids 1 to 65535 are all a distribution uses.
const MAPPED_IDS_MAX: u32 = 65_535;
/// `nobody` is 65534 and must exist inside.
const MAPPED_IDS_MIN: u32 = 65_534;

/// This user's subordinate ids.
pub(crate) fn subordinate_ids() -> Result<SubordinateIds, ToolError> {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let name = fs::read_to_string("/etc/passwd").ok().and_then(|passwd| user_name(&passwd, uid));
    let range = |file: &'static str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        find_range(&text, name.as_deref(), uid).ok_or_else(|| ToolError::NoSubordinateIds {
            user: name.clone().unwrap_or_else(|| uid.to_string()),
            file,
        })
    };
    Ok(SubordinateIds { uid, gid, uids: range("/etc/subuid")?, gids: range("/etc/subgid")? })
}

impl SubordinateIds {
    /// The commands that map them into the user namespace of a process.
    pub(crate) fn map_arguments(&self, process: u32) -> [(Tool, Vec<String>); 2] {
        let arguments = |own: u32, range: Range| {
            let count = range.count.min(MAPPED_IDS_MAX);
            [process, 0, own, 1, 1, range.first, count].iter().map(u32::to_string).collect()
        };
        [(Tool::Newuidmap, arguments(self.uid, self.uids)), (Tool::Newgidmap, arguments(self.gid, self.gids))]
    }
}

fn user_name(passwd: &str, uid: u32) -> Option<String> {
    let uid = uid.to_string();
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    })
}

fn find_range(text: &str, name: Option<&str>, uid: u32) -> Option<Range> {
    let uid = uid.to_string();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let user = fields.next()?;
            let range = Range { first: fields.next()?.parse().ok()?, count: fields.next()?.parse().ok()? };
            (user == uid || Some(user) == name).then_some(range)
        })
        .find(|range| range.count >= MAPPED_IDS_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps: a user's range is found by name or by id, another's never, and one too small for `nobody` is not taken.
    #[test]
    fn ranges_are_found() {
        let text = "ann:100000:65536\n1001:165536:65536\nbob:300000:100\nbob:400000:70000\nbad:line\n";
        assert_eq!(find_range(text, Some("ann"), 5), Some(Range { first: 100_000, count: 65_536 }));
        assert_eq!(find_range(text, Some("eve"), 1001), Some(Range { first: 165_536, count: 65_536 }));
        assert_eq!(find_range(text, Some("bob"), 5), Some(Range { first: 400_000, count: 70_000 }));
        assert_eq!(find_range(text, Some("eve"), 5), None);
    }

    /// Keeps: the map is the user as root, then the subordinate ids, in newuidmap(1)'s order.
    #[test]
    fn the_map_is_what_newuidmap_wants() {
        let range = Range { first: 100_000, count: 65_536 };
        let ids = SubordinateIds { uid: 1000, gid: 1001, uids: range, gids: range };
        let [(tool, arguments), _] = ids.map_arguments(77);
        assert_eq!(tool, Tool::Newuidmap);
        assert_eq!(arguments, ["77", "0", "1000", "1", "1", "100000", "65535"]);
    }

    /// Keeps: names come from the passwd file by id.
    #[test]
    fn names_are_found() {
        let passwd = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(user_name(passwd, 1000).as_deref(), Some("ann"));
        assert_eq!(user_name(passwd, 7), None);
    }
}
