//! Everything in a guest's file system, its kernel's own file systems aside, to compare two moments.

use std::collections::BTreeMap;

use super::Workspace;

/// What each path of the guest is: kind, mode, owner, time, size, target, content's digest, extended attributes.
pub(crate) type WholeTree = BTreeMap<String, String>;

/// Differences shown: one wrong path tells as much as thousands.
const SHOWN_MAX: usize = 40;

/// `syscall` numbers are those of x86-64 (`lgetxattr`, `llistxattr`). Nobody forges a digest here, and an emulated guest needs
/// four times as long for SHA-256.
const PROGRAM: &str = r#"
use strict; use Digest::MD5; use Fcntl ':mode'; use Time::HiRes;
my %skipped = map { $_ => 1 } qw(/proc /sys /dev /run);
sub shown { my $text = shift; $text =~ s/([^!-~]|\\)/sprintf '\\x%02x', ord $1/ge; $text }
sub attributes {
    my $path = shift;
    my $names = "\0" x 4096;
    my $length = syscall(195, $path, $names, length $names);
    die "$path: $!" if $length < 0 && !$!{EOPNOTSUPP};
    return '' if $length <= 0;
    my @found;
    for my $name (sort split /\0/, substr $names, 0, $length) {
        my $value = "\0" x 4096;
        my $size = syscall(192, $path, $name, $value, length $value);
        die "$path: $name: $!" if $size < 0;
        push @found, $name . '=' . unpack 'H*', substr $value, 0, $size;
    }
    join ',', @found;
}
my @todo = ('/');
while (defined(my $path = pop @todo)) {
    my ($mode, $uid, $gid, $rdev, $size, $mtime) = (Time::HiRes::lstat $path)[2, 4, 5, 6, 7, 9];
    die "$path: $!" unless defined $mode;
    my $content = '-';
    if (S_ISREG $mode) {
        open my $file, '<', $path or die "$path: $!";
        $content = "$size:" . Digest::MD5->new->addfile($file)->hexdigest;
    } elsif (S_ISLNK $mode) {
        $content = shown readlink $path;
    } elsif (S_ISDIR $mode) {
        opendir my $directory, $path or die "$path: $!";
        my $above = $path eq '/' ? '' : $path;
        push @todo, grep { !$skipped{$_} } map { "$above/$_" } grep { !/^\.\.?$/ } readdir $directory;
    } else {
        $content = $rdev;
    }
    printf "%s %o %d:%d %.6f %s %s\n", shown($path), $mode, $uid, $gid, $mtime, $content, attributes $path;
}
"#;

impl Workspace<'_> {
    /// The whole tree as it is now.
    pub(crate) fn whole_tree(&self) -> WholeTree {
        let told = self.perl(PROGRAM).out();
        let tree: WholeTree = told
            .lines()
            .map(|line| line.split_once(' ').map(|(path, rest)| (path.to_owned(), rest.to_owned())).unwrap())
            .collect();
        assert!(tree.len() > 5_000 && tree.contains_key("/usr/bin/perl"), "{} paths", tree.len());
        tree
    }
}

/// Paths that differ, with both sides.
pub(crate) fn differences(before: &WholeTree, after: &WholeTree) -> Vec<String> {
    let new = after.keys().filter(|path| !before.contains_key(*path));
    let paths = before.keys().chain(new).filter(|path| before.get(*path) != after.get(*path));
    paths.map(|path| format!("{path}: {:?} then {:?}", before.get(path), after.get(path))).collect()
}

/// Asserts that two trees are the same, and shows what is not.
pub(crate) fn assert_same(before: &WholeTree, after: &WholeTree, what: &str) {
    let found = differences(before, after);
    let shown = &found[..found.len().min(SHOWN_MAX)];
    assert!(found.is_empty(), "{what}: {} paths differ\n{}", found.len(), shown.join("\n"));
}
