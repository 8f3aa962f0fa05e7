//! Writes cpio archives in the `newc` format the kernel unpacks (Documentation/driver-api/early-userspace/buffer-format.rst).
//! The same content gives the same bytes: no time, no owner, no inode of the host.

/// An archive being written.
#[derive(Debug, Default)]
pub(crate) struct Cpio {
    bytes: Vec<u8>,
    entries: u32,
}

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

impl Cpio {
    /// A directory that root alone may write.
    pub(crate) fn directory(&mut self, path: &str) {
        self.entry(path, DIRECTORY | 0o755, (0, 0), &[]);
    }

    /// A regular file.
    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entry(path, FILE | mode, (0, 0), content);
    }

    /// A character device.
    pub(crate) fn character_device(&mut self, path: &str, mode: u32, major: u32, minor: u32) {
        self.entry(path, CHARACTER_DEVICE | mode, (major, minor), &[]);
    }

    /// The archive's bytes.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, (major, minor): (u32, u32), content: &[u8]) {
        self.entries += 1;
        let inode = self.entries;
        let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
        let (size, name_size) = (content.len() as u32, path.len() as u32 + 1);
        let fields = [inode, mode, 0, 0, links, 0, size, 0, 0, major, minor, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps: the bytes are those of the format, header by header, each part padded to 4 bytes.
    #[test]
    fn the_format_is_newc() {
        let mut cpio = Cpio::default();
        cpio.directory("dev");
        cpio.character_device("dev/console", 0o600, 5, 1);
        cpio.file("init", 0o755, b"hello");
        let bytes = cpio.finish();
        let header = |fields: &str, name: &str| format!("070701{}{name}", fields.replace(' ', ""));
        let zeros = "00000000";
        let directory = header(
            &format!(
                "00000001 000041ed {zeros} {zeros} 00000002 {zeros} {zeros} {zeros} {zeros} {zeros} {zeros} 00000004 {zeros}"
            ),
            "dev\0",
        );
        assert_eq!(&bytes[..114], directory.as_bytes());
        assert_eq!(&bytes[114..116], [0, 0]);
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("0000000500000001"), "the device numbers");
        assert!(text.contains(concat!("init\0\0hello\0\0\0", "070701")), "content is padded: {text:?}");
        assert!(text.ends_with("TRAILER!!!\0\0\0\0"));
        assert_eq!(bytes.len() % 4, 0);
    }
}
