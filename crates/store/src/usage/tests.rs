//! Figures: what is one's own goes with its removal, what is shared does not.

use super::*;
use crate::yard::{Yard, template_layer};
use crate::{NewSnapshot, Origin, OutputStream, Sealing, SnapshotName};

const LARGE: u64 = 1 << 20;

fn fill(path: &Path) {
    fs::write(path, vec![7; LARGE as usize]).unwrap();
}

fn of(yard: &Yard, id: &WorkspaceId) -> (u64, u64) {
    let usage = yard.store.usage(&yard.directories).unwrap();
    let usage = usage.iter().find(|usage| usage.id == *id).unwrap();
    // What is small: locks, the images of the test.
    (usage.private_bytes / LARGE, usage.shared_bytes / LARGE)
}

/// Each file counts for those who need it: as their own when nobody else does.
#[test]
fn private_and_shared_are_told_apart() {
    let yard = Yard::new();
    let source = yard.ready().id;
    let (first, second) = (yard.record(&source).head, yard.file());
    fill(&yard.directories.layer(&first));
    fill(&yard.directories.layer(&second));
    let name = SnapshotName::parse("a").unwrap();
    let snapshot =
        NewSnapshot { name: name.clone(), layer: first.clone(), has_memory: true, entries: 0, bytes: 0 };
    yard.store.extend(&source, &second, &Sealing::Snapshot(snapshot)).unwrap();
    assert_eq!(of(&yard, &source), (2, 0));
    fs::create_dir(yard.directories.memory(&first)).unwrap();
    fill(&yard.directories.memory(&first).join("ram"));
    fill(&yard.directories.workspace(&source).output(1, OutputStream::Stdout));
    fill(&yard.directories.workspace(&source).former_disk());
    assert_eq!(of(&yard, &source), (5, 0));

    let copy = yard.ready_on(Origin::Layer(first.clone()));
    fill(&yard.disk(&copy.id));
    fill(&yard.root.path().join("disk")); // the template's, which the cache has too
    assert_eq!(of(&yard, &copy.id), (1, 2));
    assert_eq!(of(&yard, &source), (4, 2));
    fs::remove_file(yard.root.path().join("disk")).unwrap();
    assert!(yard.directories.layer(&template_layer()).exists());

    // What only the snapshot needs goes with it, and what the copy alone needs then is its own.
    yard.store.delete_snapshot(&source, &name).unwrap();
    assert_eq!(of(&yard, &source), (3, 2));
    yard.store.reset(&source, &yard.file(), &template_layer()).unwrap();
    assert_eq!(of(&yard, &source), (2, 1));
    assert_eq!(of(&yard, &copy.id), (2, 1));
}

/// The images that a workspace stands on are shared; what is not there takes nothing; what is not a workspace any more
/// is not told.
#[test]
fn images_and_absent_files() {
    let yard = Yard::new();
    let claim = yard.ready();
    let id = claim.id.clone();
    let base = crate::ImageKey::parse("0123abcd").unwrap();
    fill(&yard.directories.kept_image(KeptImage::Base(&base)));
    fs::remove_file(yard.disk(&id)).unwrap();
    assert_eq!(of(&yard, &id), (0, 1));
    yard.store.mark_deleting(&id).unwrap();
    assert!(yard.store.usage(&yard.directories).unwrap().is_empty());
}
