//! Which templates are taken, and which are made anew.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::machine::{Accelerator, Shape, Transport};

fn key() -> TemplateKey {
    let shape = Shape::new(Accelerator::Tcg, Transport::Serial, 1, 128).unwrap();
    TemplateKey::new(&KeyInputs { shape, vmm: "test", parts: &[] })
}

fn saved(parent: &Path) -> Template {
    let draft = Draft::create(&parent.join("t"), 128 << 20).unwrap();
    draft.state_writer().unwrap().write_all(b"state").unwrap();
    draft.finish(&key()).unwrap()
}

fn saved_with_disk(parent: &Path) -> Template {
    let mut draft = Draft::create(&parent.join("t"), 128 << 20).unwrap();
    draft.state_writer().unwrap().write_all(b"state").unwrap();
    fs::write(parent.join("scratch"), b"disk").unwrap();
    draft.add_disk(&parent.join("scratch"), "0123456789ab").unwrap();
    draft.finish(&key()).unwrap()
}

#[test]
fn a_saved_template_opens() {
    // Promise: what was saved whole can be forked.
    let parent = tempfile::tempdir().unwrap();
    let template = saved(parent.path());
    let again = Template::open(template.directory(), &key()).unwrap();
    assert_eq!(again.size_bytes(), (128 << 20, 5));
    let names = fs::read_dir(parent.path()).unwrap().count();
    assert_eq!(names, 1, "no temporary sibling is left");
}

#[test]
fn an_unfinished_template_leaves_nothing() {
    // Promise: a template is never half there.
    let parent = tempfile::tempdir().unwrap();
    drop(Draft::create(&parent.path().join("t"), 128 << 20).unwrap());
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    let error = Template::open(&parent.path().join("t"), &key()).unwrap_err();
    assert!(matches!(error, TemplateError::Absent { .. }));
}

#[test]
fn a_changed_template_is_refused() {
    // Promise: a template somebody touched is made anew, not run.
    for (name, change) in [(RAM_FILE, 0), (STATE_FILE, 0), (RAM_FILE, 1), (METADATA_FILE, 2)] {
        let parent = tempfile::tempdir().unwrap();
        let template = saved(parent.path());
        let path = template.directory().join(name);
        match change {
            0 => {
                fs::remove_file(&path).unwrap();
                fs::write(&path, b"other").unwrap();
            }
            1 => fs::remove_file(&path).unwrap(),
            _ => {
                fs::remove_file(&path).unwrap();
                fs::write(&path, b"{").unwrap();
            }
        }
        let error = Template::open(template.directory(), &key()).unwrap_err();
        assert!(error.wants_rebuild(), "{name} {change}: {error}");
    }
}

#[test]
fn a_template_keeps_its_disk() {
    // Promise: a workspace may keep the disk its VM stands on, and the template stays good.
    let parent = tempfile::tempdir().unwrap();
    let template = saved_with_disk(parent.path());
    assert!(!parent.path().join("scratch").exists());
    fs::hard_link(template.disk().unwrap().path, parent.path().join("layer")).unwrap();
    let again = Template::open(template.directory(), &key()).unwrap();
    let disk = again.disk().unwrap();
    assert_eq!(disk.id, "0123456789ab");
    assert_eq!(fs::read(&disk.path).unwrap(), b"disk");
    assert!(fs::metadata(&disk.path).unwrap().permissions().readonly());
    assert_eq!(saved(parent.path()).disk(), None);
}

#[test]
fn a_template_whose_disk_was_changed_is_refused() {
    // Promise: nor is a disk run that somebody touched.
    let changes: [fn(&Path); 3] = [
        |path| fs::remove_file(path).unwrap(),
        |path| File::options().write(true).open(path).unwrap().set_len(3).unwrap(),
        |path| {
            fs::copy(path, path.with_extension("new"))
                .and_then(|_| fs::rename(path.with_extension("new"), path))
                .unwrap()
        },
    ];
    for change in changes {
        let parent = tempfile::tempdir().unwrap();
        let template = saved_with_disk(parent.path());
        let path = template.disk().unwrap().path;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        change(&path);
        assert!(Template::open(template.directory(), &key()).unwrap_err().wants_rebuild());
    }
}

#[test]
fn a_template_of_another_machine_is_refused() {
    // Promise: a template is only used for the machine it was saved from.
    let parent = tempfile::tempdir().unwrap();
    let template = saved(parent.path());
    let shape = Shape::new(Accelerator::Tcg, Transport::Serial, 2, 128).unwrap();
    let other = TemplateKey::new(&KeyInputs { shape, vmm: "test", parts: &[] });
    assert!(Template::open(template.directory(), &other).unwrap_err().wants_rebuild());
}

#[test]
fn saving_over_a_template_replaces_it() {
    // Promise: making a stale template anew works where the old one is.
    let parent = tempfile::tempdir().unwrap();
    saved(parent.path());
    let template = saved(parent.path());
    assert!(Template::open(template.directory(), &key()).is_ok());
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
}
