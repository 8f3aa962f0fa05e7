//! Edits of a tree, and the Perl program that does them in the guest. An edit that cannot be done where it falls
//! (a file where a directory is) does nothing there: what counts is the tree that comes of it.

use std::fmt::Write;

use proptest::prelude::*;
use proptest::sample::select;

/// One edit; paths are bytes.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    Write {
        path: Vec<u8>,
        bytes: Vec<u8>,
    },
    Append {
        path: Vec<u8>,
        bytes: Vec<u8>,
    },
    /// A line, counted from the end when there are fewer, becomes another.
    Line {
        path: Vec<u8>,
        number: usize,
        bytes: Vec<u8>,
    },
    /// The last byte goes: a final newline, mostly.
    Chop {
        path: Vec<u8>,
    },
    /// Every line feed becomes CRLF.
    Crlf {
        path: Vec<u8>,
    },
    Truncate {
        path: Vec<u8>,
    },
    Touch {
        path: Vec<u8>,
    },
    Mode {
        path: Vec<u8>,
        mode: u32,
    },
    Remove {
        path: Vec<u8>,
    },
    Rename {
        from: Vec<u8>,
        to: Vec<u8>,
    },
    Symlink {
        path: Vec<u8>,
        target: Vec<u8>,
    },
    HardLink {
        from: Vec<u8>,
        to: Vec<u8>,
    },
    Directory {
        path: Vec<u8>,
    },
    /// Whatever is there goes, and a directory with a file takes its place.
    BecomeDirectory {
        path: Vec<u8>,
        bytes: Vec<u8>,
    },
    /// Whatever is there goes, and a file takes its place.
    BecomeFile {
        path: Vec<u8>,
        bytes: Vec<u8>,
    },
}

/// Names that trip those who quote, split or normalize.
const ODD_NAMES: [&[u8]; 18] = [
    b"plain",
    b"with space",
    b" leading",
    b"trailing ",
    b"tab\there",
    b"line\nfeed",
    b"quote\"d",
    b"back\\slash",
    b"-dash",
    b"--",
    b"caf\xc3\xa9",
    b"latin\xe9",
    b"\xff\xfe",
    b"a'b",
    b"$HOME",
    b"*",
    b"...",
    b"con.txt.",
];

/// Any edit of a tree that has these paths.
pub(crate) fn edit(paths: Vec<Vec<u8>>) -> impl Strategy<Value = Edit> {
    let path = move || path(paths.clone());
    prop_oneof![
        4 => (path(), contents()).prop_map(|(path, bytes)| Edit::Write { path, bytes }),
        3 => (path(), contents()).prop_map(|(path, bytes)| Edit::Append { path, bytes }),
        4 => (path(), 0usize..2000, line()).prop_map(|(path, number, bytes)| Edit::Line { path, number, bytes }),
        2 => path().prop_map(|path| Edit::Chop { path }),
        2 => path().prop_map(|path| Edit::Crlf { path }),
        1 => path().prop_map(|path| Edit::Truncate { path }),
        1 => path().prop_map(|path| Edit::Touch { path }),
        2 => (path(), select(vec![0o644, 0o755, 0o600, 0o700])).prop_map(|(path, mode)| Edit::Mode { path, mode }),
        3 => path().prop_map(|path| Edit::Remove { path }),
        3 => (path(), path()).prop_map(|(from, to)| Edit::Rename { from, to }),
        2 => (path(), target()).prop_map(|(path, target)| Edit::Symlink { path, target }),
        1 => (path(), path()).prop_map(|(from, to)| Edit::HardLink { from, to }),
        1 => path().prop_map(|path| Edit::Directory { path }),
        2 => (path(), contents()).prop_map(|(path, bytes)| Edit::BecomeDirectory { path, bytes }),
        2 => (path(), contents()).prop_map(|(path, bytes)| Edit::BecomeFile { path, bytes }),
    ]
}

/// A path of the seed (or the directory it is in), or one of odd names.
fn path(paths: Vec<Vec<u8>>) -> BoxedStrategy<Vec<u8>> {
    let known = select(paths.clone());
    let parent = select(paths).prop_map(|path| match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => path[..slash].to_vec(),
        None => path,
    });
    let name = || select(ODD_NAMES.to_vec()).prop_map(<[u8]>::to_vec);
    let odd = proptest::collection::vec(name(), 1..3).prop_map(|names| names.join(&b'/'));
    let below = (parent.clone(), name()).prop_map(|(parent, name)| [parent, name].join(&b'/'));
    prop_oneof![5 => known, 1 => parent, 2 => odd, 2 => below].boxed()
}

fn contents() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => proptest::collection::vec(line(), 0..30).prop_map(|lines| lines.concat()),
        1 => proptest::collection::vec(line(), 1..5).prop_map(|lines| {
            let mut bytes = lines.concat();
            bytes.pop();
            bytes
        }),
        2 => proptest::collection::vec(any::<u8>(), 0..400),
        1 => Just(Vec::new()),
        1 => (any::<u8>(), 1usize..200_000).prop_map(|(byte, count)| vec![byte; count]),
    ]
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![
        select(vec![
            "",
            "x",
            "fn main() {",
            "}",
            "-- old",
            "++ new",
            "@@ -1 +1 @@",
            "diff --git a/x b/x",
            "\\ No newline",
            "\r"
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        "[ -~]{0,60}".prop_map(String::into_bytes),
        Just("grün→\u{1f600}".as_bytes().to_vec()),
        Just(vec![0xe9, 0xff]),
    ];
    text.prop_map(|mut text| {
        text.push(b'\n');
        text
    })
}

fn target() -> impl Strategy<Value = Vec<u8>> {
    select(vec![&b"plain"[..], b"../x", b"/etc/passwd", b"with space", b"gone\nnewline", b"."])
        .prop_map(<[u8]>::to_vec)
}

/// The Perl program that does these edits in `/workspace`; nothing but Perl's own core is needed.
pub(crate) fn program(edits: &[Edit]) -> String {
    let mut text = String::from(PRELUDE);
    for edit in edits {
        let _ = match edit {
            Edit::Write { path, bytes } => writeln!(text, "put({}, {});", hex(path), hex(bytes)),
            Edit::Append { path, bytes } => writeln!(text, "append({}, {});", hex(path), hex(bytes)),
            Edit::Line { path, number, bytes } => {
                writeln!(text, "line({}, {number}, {});", hex(path), hex(bytes))
            }
            Edit::Chop { path } => writeln!(text, "chop_off({});", hex(path)),
            Edit::Crlf { path } => writeln!(text, "crlf({});", hex(path)),
            Edit::Truncate { path } => writeln!(text, "put({}, '');", hex(path)),
            Edit::Touch { path } => writeln!(text, "utime(1, 1, {});", hex(path)),
            Edit::Mode { path, mode } => writeln!(text, "mode({}, {mode});", hex(path)),
            Edit::Remove { path } => writeln!(text, "gone({});", hex(path)),
            Edit::Rename { from, to } => writeln!(text, "above({1}); rename({0}, {1});", hex(from), hex(to)),
            Edit::Symlink { path, target } => {
                writeln!(text, "gone({0}); above({0}); symlink({1}, {0});", hex(path), hex(target))
            }
            Edit::HardLink { from, to } => {
                writeln!(text, "above({1}); link({0}, {1}) if plain({0});", hex(from), hex(to))
            }
            Edit::Directory { path } => writeln!(text, "above({0}); mkdir({0});", hex(path)),
            Edit::BecomeDirectory { path, bytes } => {
                writeln!(
                    text,
                    "gone({0}); above({0}); mkdir({0}); put({0}.'/inside', {1});",
                    hex(path),
                    hex(bytes)
                )
            }
            Edit::BecomeFile { path, bytes } => {
                writeln!(text, "gone({0}); put({0}, {1});", hex(path), hex(bytes))
            }
        };
    }
    text
}

const PRELUDE: &str = r#"
use strict; use warnings; no warnings;
chdir '/workspace' or die;
sub h { pack('H*', $_[0]) }
sub plain { -f $_[0] && !-l $_[0] }
sub above { my $at = ''; my @names = split m{/}, $_[0]; pop @names; for (@names) { $at .= $_; mkdir $at; $at .= '/'; } }
sub put { my ($p, $b) = @_; return if -d $p || -l $p; above($p); open(my $f, '>:raw', $p) or return; print $f $b; close $f or die; }
sub get { my ($p) = @_; return undef unless plain($p); open(my $f, '<:raw', $p) or return undef; local $/; my $b = <$f>; return defined $b ? $b : ''; }
sub append { my ($p, $b) = @_; my $old = get($p); put($p, (defined $old ? $old : '') . $b); }
sub line { my ($p, $n, $b) = @_; my $old = get($p); return unless defined $old; my @l = $old =~ /[^\n]*\n|[^\n]+\z/g; return unless @l; $l[$n % @l] = $b; put($p, join('', @l)); }
sub chop_off { my $old = get($_[0]); return unless defined $old && length $old; put($_[0], substr($old, 0, -1)); }
sub crlf { my $old = get($_[0]); return unless defined $old; $old =~ s/\r?\n/\r\n/g; put($_[0], $old); }
sub mode { my ($p, $m) = @_; chmod $m, $p if plain($p); }
sub gone { my ($p) = @_; if (-d $p && !-l $p) { opendir(my $d, $p) or return; for (readdir $d) { gone("$p/$_") unless $_ eq '.' || $_ eq '..'; } closedir $d; rmdir $p; } else { unlink $p; } }
"#;

fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("h('{digits}')")
}
