//! Users and groups of the guest, from its own `/etc/passwd` and `/etc/group`. Plain text to plain values:
//! a malformed line is no account, and nothing is asked of any name service.

use pyro_proto::agent::{Failure, FailureKind};

use crate::failure::failure;
use crate::limits::GROUPS_MAX;

/// Who a command runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups.
    pub(crate) groups: Vec<u32>,
    pub(crate) name: Vec<u8>,
    pub(crate) home: Vec<u8>,
    pub(crate) shell: Vec<u8>,
}

/// The two files' contents.
#[derive(Debug, Default)]
pub(crate) struct AccountFiles {
    pub(crate) passwd: Vec<u8>,
    pub(crate) group: Vec<u8>,
}

struct Passwd<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
    shell: &'a [u8],
}

struct Group<'a> {
    name: &'a [u8],
    gid: u32,
    members: &'a [u8],
}

impl AccountFiles {
    /// Finds `user` (`name`, `uid`, `name:group`, `uid:gid`); root without.
    pub(crate) fn account(&self, user: Option<&str>) -> Result<Account, Failure> {
        let (user, group) = match user {
            None => ("0", None),
            Some(user) => match user.split_once(':') {
                Some((user, group)) => (user, Some(group)),
                None => (user, None),
            },
        };
        let mut account = self.user(user)?;
        match group {
            Some(group) => account.gid = self.gid(group)?,
            None => account.groups = self.groups_of(&account),
        }
        Ok(account)
    }

    fn user(&self, wanted: &str) -> Result<Account, Failure> {
        let uid = number(wanted.as_bytes());
        let by_name = self.passwd().find(|entry| entry.name == wanted.as_bytes());
        let entry = by_name.or_else(|| self.passwd().find(|entry| Some(entry.uid) == uid));
        match (entry, uid) {
            (Some(entry), _) => Ok(entry.to_account()),
            (None, Some(uid)) => Ok(unlisted(uid)),
            (None, None) => {
                Err(failure(FailureKind::UserUnknown, format!("there is no user {wanted:?} in the guest")))
            }
        }
    }

    fn gid(&self, wanted: &str) -> Result<u32, Failure> {
        self.group()
            .find(|entry| entry.name == wanted.as_bytes())
            .map(|entry| entry.gid)
            .or_else(|| number(wanted.as_bytes()))
            .ok_or_else(|| {
                failure(FailureKind::UserUnknown, format!("there is no group {wanted:?} in the guest"))
            })
    }

    fn groups_of(&self, account: &Account) -> Vec<u32> {
        let is_member =
            |group: &Group<'_>| group.members.split(|byte| *byte == b',').any(|name| name == account.name);
        let mut groups: Vec<u32> =
            self.group().filter(is_member).map(|group| group.gid).take(GROUPS_MAX - 1).collect();
        if !groups.contains(&account.gid) {
            groups.push(account.gid);
        }
        groups
    }

    fn passwd(&self) -> impl Iterator<Item = Passwd<'_>> {
        self.passwd.split(|byte| *byte == b'\n').filter_map(Passwd::parse)
    }

    fn group(&self) -> impl Iterator<Item = Group<'_>> {
        self.group.split(|byte| *byte == b'\n').filter_map(Group::parse)
    }
}

impl<'a> Passwd<'a> {
    fn parse(line: &'a [u8]) -> Option<Passwd<'a>> {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let (uid, gid) = (number(fields.nth(1)?)?, number(fields.next()?)?);
        let (home, shell) = (fields.nth(1).unwrap_or_default(), fields.next().unwrap_or_default());
        Some(Passwd { name, uid, gid, home, shell })
    }

    fn to_account(&self) -> Account {
        let or =
            |value: &[u8], default: &[u8]| if value.is_empty() { default.to_vec() } else { value.to_vec() };
        Account {
            uid: self.uid,
            gid: self.gid,
            groups: Vec::new(),
            name: self.name.to_vec(),
            home: or(self.home, b"/"),
            shell: or(self.shell, b"/bin/sh"),
        }
    }
}

impl<'a> Group<'a> {
    fn parse(line: &'a [u8]) -> Option<Group<'a>> {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        Some(Group { name, gid: number(fields.nth(1)?)?, members: fields.next().unwrap_or_default() })
    }
}

/// A numeric user that no file names, as containers have them.
fn unlisted(uid: u32) -> Account {
    let (name, home): (Vec<u8>, &[u8]) = match uid {
        0 => (b"root".to_vec(), b"/root"),
        _ => (uid.to_string().into_bytes(), b"/"),
    };
    Account { uid, gid: 0, groups: Vec::new(), name, home: home.to_vec(), shell: b"/bin/sh".to_vec() }
}

/// Decimal digits only: no sign, no space. The highest value means "unchanged" to the kernel and is no id.
fn number(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok().filter(|id| *id != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> AccountFiles {
        AccountFiles {
            passwd: b"root:x:0:0:root:/root:/bin/bash\nbroken\n:x:1:1::/:\nweb:x:33:33:w:/var/www:\nbad:x:-1:0::/:\n\
                12:x:500:500::/odd:/bin/zsh\n"
                .to_vec(),
            group: b"root:x:0:\nadm:x:4:web,other\nstaff:x:50:web\nwww:x:33:\n".to_vec(),
        }
    }

    /// A user is found by name or number, with the groups that list it.
    #[test]
    fn users_are_found() {
        let web = files().account(Some("web")).unwrap();
        assert_eq!((web.uid, web.gid, web.groups.clone()), (33, 33, vec![4, 50, 33]));
        assert_eq!((&web.home[..], &web.shell[..]), (&b"/var/www"[..], &b"/bin/sh"[..]));
        assert_eq!(files().account(Some("33")).unwrap(), web);
        assert_eq!(files().account(None).unwrap().shell, b"/bin/bash");
    }

    /// A group that is asked for is the only one.
    #[test]
    fn an_explicit_group_stands_alone() {
        let web = files().account(Some("web:staff")).unwrap();
        assert_eq!((web.gid, web.groups), (50, vec![]));
        assert_eq!(files().account(Some("1000:1000")).unwrap().gid, 1000);
        assert!(files().account(Some("web:nobody")).is_err());
    }

    /// A name of digits is a name first, as in other container tools.
    #[test]
    fn a_name_of_digits_is_a_name() {
        assert_eq!(files().account(Some("12")).unwrap().uid, 500);
    }

    /// An image without accounts still has root and numbers, and no names.
    #[test]
    fn no_files_still_have_root() {
        let none = AccountFiles::default();
        assert_eq!(none.account(None).unwrap().home, b"/root");
        assert_eq!(none.account(Some("1000")).unwrap().home, b"/");
        for user in ["web", "", ":", "-1", "4294967295", "+1", " 1"] {
            assert_eq!(none.account(Some(user)).unwrap_err().kind, FailureKind::UserUnknown, "{user:?}");
        }
    }
}
