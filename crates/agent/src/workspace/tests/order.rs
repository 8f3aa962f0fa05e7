//! What a stream towards the guest may hold.

use pyro_proto::tree::{Change, Contents, Expect, Item, NodeKind, Side, write_item, write_piece};

use super::super::error::WorkspaceError;
use super::super::order::{Order, Purpose};
use super::{Bench, Streamed, directory, entry, file, path, remove_item, stream, symlink};

fn bad(items: Vec<Streamed>) -> (&'static str, Vec<u8>) {
    ("", stream(&items))
}

/// A stream that breaks a rule changes nothing and is told as damaged.
#[test]
fn damaged_streams_change_nothing() {
    let mut bench = Bench::new();
    bench.write("a/b", "as it was");
    let before = super::snapshot(&bench.tree(""));
    let long = entry("f", NodeKind::File { bytes: 3 }, 0o644);
    let change = Change { path: path("a"), before: None, after: None, contents: Contents::Same };
    let mut both_sides = stream(&file("f", "1"));
    write_piece(Side::Before, 0, b"x", &mut both_sides).unwrap();
    let mut behind = stream(&file("f", "1"));
    write_item(&Item::End, &mut behind).unwrap();
    let whole = stream(&[file("f", "12345"), file("g", "1")].concat());
    let cases = [
        ("cut", whole[..whole.len() - 3].to_vec()),
        ("cut in a piece", whole[..whole.len() - 40].to_vec()),
        ("nothing", Vec::new()),
        ("no stream", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("behind the end", behind),
        ("the baseline's side", both_sides),
        bad(vec![Streamed::Bytes(0, b"x".to_vec())]),
        bad(vec![directory("d"), Streamed::Bytes(0, b"x".to_vec())]),
        bad(vec![long.clone(), Streamed::Bytes(1, b"xyz".to_vec())]),
        bad(vec![long.clone(), Streamed::Bytes(1, b"x".to_vec()), Streamed::Bytes(1, b"y".to_vec())]),
        bad(vec![long.clone(), Streamed::Bytes(u64::MAX, b"x".to_vec())]),
        bad(vec![Streamed::Item(Item::Change(change))]),
        bad(vec![entry("p", NodeKind::Special, 0o644)]),
        bad(vec![entry("m", NodeKind::Directory, 0o1_0000)]),
        bad(vec![symlink("s", "")]),
        bad(vec![symlink("s", "a\0b")]),
        bad(vec![entry("", NodeKind::File { bytes: 0 }, 0o644)]),
        bad(vec![directory("d"), directory("d")]),
        bad([file("d", ""), file("d", "")].concat()),
        bad([file("d", ""), file("d/e", "")].concat()),
        bad([vec![symlink("d", ".")], file("d/e", "")].concat()),
        bad(vec![entry("h", NodeKind::HardLink { target: path("nothing") }, 0o644)]),
        bad(vec![directory("d"), entry("h", NodeKind::HardLink { target: path("d") }, 0o644)]),
        bad(vec![symlink("s", "x"), entry("h", NodeKind::HardLink { target: path("s") }, 0o644)]),
        bad(vec![remove_item("")]),
        bad(vec![entry("l", NodeKind::File { bytes: u64::MAX }, 0o644)]),
    ];
    for (at, (name, bytes)) in cases.into_iter().enumerate() {
        let pushed = bench.push_bytes("", &bytes);
        assert!(matches!(pushed, Err(WorkspaceError::Damaged(_))), "{at} {name}: {pushed:?}");
        assert_eq!(super::snapshot(&bench.tree("")), before, "{at} {name}");
    }
}

/// A baseline is made of entries alone.
#[test]
fn a_baseline_is_entries_alone() {
    let expect = Item::Expect(Expect { path: path("a"), version: None });
    for item in [Item::Remove(path("a")), expect] {
        assert!(Order::new(Purpose::Push).take(&item).is_ok());
        assert!(matches!(Order::new(Purpose::Seed).take(&item), Err(WorkspaceError::Damaged(_))));
    }
}
