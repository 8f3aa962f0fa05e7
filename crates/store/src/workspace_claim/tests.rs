//! Claims, and what a crash leaves at every step: never somebody's work gone, never a name kept for nothing.

use super::*;
use crate::yard::{Yard, names, template_layer};
use crate::{
    ExecOutcome, Keep, NewExec, NewVm, OutputStream, OutputWriter, ProcessIdentity, Reconciled, VmId,
};

fn exec() -> NewExec {
    NewExec { command: vec!["x".to_owned()], directory: String::new(), user: None, detached: false }
}

/// A workspace stands on images of its own, also when the cache is gone, and they go with the last of them.
#[test]
fn images_are_kept_as_long_as_needed() {
    let yard = Yard::new();
    let (first, second) = (yard.ready(), yard.ready());
    fs::remove_file(yard.root.path().join("base")).unwrap();
    let base = crate::ImageKey::parse("0123abcd").unwrap();
    assert_eq!(fs::read(yard.directories.kept_image(KeptImage::Base(&base))).unwrap(), b"base");
    yard.store.remove_workspace(first).unwrap();
    assert_eq!((yard.reconcile(), yard.images()), (Reconciled::default(), 2));
    yard.store.remove_workspace(second).unwrap();
    fs::write(yard.directories.bases().join("a stranger's"), b"x").unwrap();
    fs::write(yard.directories.bases().join("x.ext4.1.part"), b"x").unwrap();
    assert_eq!(yard.store.collect_images(&yard.directories).unwrap().len(), 3);
    assert_eq!(yard.images(), 1);
}

/// A workspace has one holder; who waits for it finds it, or finds it gone.
#[test]
fn one_holder() {
    let yard = Yard::new();
    let claim = yard.ready();
    let id = claim.id.clone();
    let again = || yard.store.claim_workspace(&yard.directories, &id);
    assert!(matches!(again(), Err(ClaimError::Held(_))));
    assert!(matches!(yard.store.claim_for_removal(&yard.directories, &id), Err(ClaimError::Held(_))));
    drop(claim);
    drop(again().unwrap());
    yard.store.mark_deleting(&id).unwrap();
    assert!(matches!(again(), Err(ClaimError::Record(RecordError::Gone(_)))));
    let claim = yard.store.claim_for_removal(&yard.directories, &id).unwrap();
    yard.store.remove_workspace(claim).unwrap();
    assert!(matches!(again(), Err(ClaimError::Record(RecordError::Gone(_)))));
    let gone = yard.store.claim_for_removal(&yard.directories, &id);
    assert!(matches!(gone, Err(ClaimError::Record(RecordError::Gone(_)))));
    assert!(!yard.directories.workspace(&id).directory.exists());
}

/// A workspace that cannot be made leaves nothing, its name least of all.
#[test]
fn failed_creation_leaves_nothing() {
    let yard = Yard::new();
    fs::remove_file(yard.root.path().join("blank")).unwrap();
    let new = yard.new_workspace(Some("a"));
    assert!(matches!(yard.create(&new), Err(ClaimError::File { .. })));
    assert_eq!(yard.store.workspace(&new.id).unwrap(), None);
    assert!(!yard.directories.workspace(&new.id).directory.exists());
    fs::write(yard.root.path().join("blank"), b"blank").unwrap();
    let claim = yard.create(&yard.new_workspace(Some("a"))).unwrap();
    let taken = yard.create(&yard.new_workspace(Some("a")));
    assert!(matches!(taken, Err(ClaimError::Record(RecordError::NameTaken(_)))));
    drop(claim);
}

/// What was never finished goes once its maker is gone, and not before.
#[test]
fn unfinished_workspaces_are_removed() {
    let yard = Yard::new();
    let claim = yard.create(&yard.new_workspace(None)).unwrap();
    let id = claim.id.clone();
    assert_eq!(yard.reconcile(), Reconciled::default());
    drop(claim); // as when its shim dies
    assert_eq!(yard.reconcile().removed_workspaces, std::slice::from_ref(&id));
    assert!(!yard.directories.workspace(&id).directory.exists());
    assert_eq!((yard.images(), yard.files().len()), (0, 0));
    // A crash between the row and the directory.
    let new = yard.new_workspace(None);
    yard.store.insert_workspace(&new).unwrap();
    assert_eq!(yard.reconcile().removed_workspaces, [new.id]);
}

/// A deletion that was begun is finished by whoever comes next, from any step it reached.
#[test]
fn deletions_are_finished() {
    let yard = Yard::new();
    for step in 0..3 {
        let claim = yard.ready();
        let (id, place) = (claim.id.clone(), claim.place.clone());
        yard.store.mark_deleting(&id).unwrap();
        assert_eq!(yard.reconcile(), Reconciled::default()); // its shim is still there
        drop(claim);
        match step {
            1 => fs::remove_dir(place.history()).unwrap(),
            2 => fs::remove_dir_all(&place.directory).unwrap(),
            _ => {}
        }
        assert_eq!(yard.reconcile().removed_workspaces, std::slice::from_ref(&id));
        assert!(!place.directory.exists() && yard.store.workspace(&id).unwrap().is_none());
        assert!(yard.files().is_empty() && yard.rows().is_empty());
    }
}

/// A workspace whose VM died is whole and free: no VM is recorded, and what ran is lost with its length known.
#[test]
fn the_dead_let_go() {
    let yard = Yard::new();
    let vm = NewVm {
        id: VmId::random().unwrap(),
        environment: String::new(),
        purpose: "workspace".to_owned(),
        accelerator: "tcg".to_owned(),
        vcpu_count: 1,
        memory_mib: 256,
    };
    let vm_claim = yard.store.claim(&yard.directories, &vm).unwrap();
    let claim = yard.ready();
    let (id, place) = (claim.id.clone(), claim.place.clone());
    yard.store.set_vm(&id, Some(&vm.id)).unwrap();
    let sequence = yard.store.begin_exec(&id, &exec()).unwrap();
    OutputWriter::create(&place.output(sequence, OutputStream::Stdout), Keep::HeadAndTail)
        .unwrap()
        .append(b"abc")
        .unwrap();
    assert_eq!(yard.reconcile(), Reconciled::default());
    assert!(yard.store.workspace(&id).unwrap().unwrap().vm_id.is_some());
    drop((vm_claim, claim));
    assert_eq!(yard.reconcile().removed, [vm.id]);
    let record = yard.store.workspace(&id).unwrap().unwrap();
    assert_eq!((record.state, record.vm_id), (WorkspaceState::Ready, None));
    let end = yard.store.exec(&id, sequence).unwrap().unwrap().end.unwrap();
    assert_eq!((end.outcome, end.exit_code, end.stdout_bytes), (ExecOutcome::Lost, None, 3));
    assert_eq!(fs::read(yard.disk(&id)).unwrap(), b"work");
}

/// What has no record is never taken for rubbish when anything is in it.
#[test]
fn doubtful_work_is_kept() {
    let yard = Yard::new();
    let claim = yard.ready();
    let place = claim.place.clone();
    fs::write(place.former_disk(), b"work").unwrap();
    yard.store.forget_workspace(&claim.id).unwrap(); // as when the database is lost
    drop(claim);
    let stranger = yard.directories.workspaces().join("not-an-id");
    fs::write(&stranger, b"x").unwrap();
    let only_output = yard.directories.workspace(&WorkspaceId::random().unwrap());
    fs::create_dir_all(only_output.history()).unwrap();
    fs::write(only_output.output(1, OutputStream::Stdout), b"x").unwrap();
    let empty = yard.directories.workspace(&WorkspaceId::random().unwrap());
    fs::create_dir_all(empty.history()).unwrap();
    fs::write(empty.lock(), b"").unwrap();

    let mut unknown = yard.reconcile().unknown;
    unknown.sort();
    let mut expected = vec![place.directory.clone(), stranger, only_output.directory];
    expected.sort();
    assert_eq!(unknown, expected);
    assert!(place.former_disk().exists() && !empty.directory.exists());
}

/// A row that this release cannot read keeps its directory, its layers and its images.
#[test]
fn unreadable_rows_keep_everything() {
    let yard = Yard::new();
    let claim = yard.ready();
    let disk = yard.disk(&claim.id);
    yard.store.connection.execute("UPDATE workspaces SET blank_recipe = '../x'", []).unwrap();
    drop(claim);
    assert!(yard.store.workspaces(&[]).unwrap().is_empty());
    assert_eq!(yard.reconcile(), Reconciled::default());
    assert!(disk.exists() && yard.directories.layer(&template_layer()).exists());
    let base = crate::ImageKey::parse("0123abcd").unwrap();
    assert!(yard.directories.kept_image(KeptImage::Base(&base)).exists());
}

/// A VMM that has outlived its shim is gone before anybody else has the workspace: two would spoil the disk.
#[test]
fn no_disk_has_two_vmms() {
    let yard = Yard::new();
    let claim = yard.ready();
    let id = claim.id.clone();
    let mut vmm = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    claim.record_vmm(ProcessIdentity::of(vmm.id()).unwrap()).unwrap();
    drop(claim);
    let claim = yard.claim(&id);
    assert!(!vmm.try_wait().unwrap().unwrap().success());
    assert!(!claim.place.vmm().exists());
    // Of another boot, or no process at all: nobody is harmed.
    let own = ProcessIdentity::of(std::process::id()).unwrap();
    for text in [format!("another-boot {} {}", own.pid, own.start_ticks), "x y z".to_owned(), String::new()] {
        fs::write(claim.place.vmm(), text).unwrap();
        assert!(end_vmm(&claim.place));
    }
}

/// Outputs of commands that are long past go when the workspace is claimed.
#[test]
fn old_outputs_are_pruned() {
    let yard = Yard::new();
    let claim = yard.ready();
    let (id, place) = (claim.id.clone(), claim.place.clone());
    let skip = "UPDATE workspaces SET next_sequence = ?1";
    yard.store.connection.execute(skip, [HISTORY_OUTPUTS_KEPT as i64 + 6]).unwrap();
    for sequence in [5, 6] {
        fs::write(place.output(sequence, OutputStream::Stderr), b"x").unwrap();
    }
    fs::write(place.history().join("notes"), b"x").unwrap();
    drop(claim);
    drop(yard.claim(&id));
    let left = fs::read_dir(place.history()).unwrap().count();
    assert!(place.output(6, OutputStream::Stderr).exists() && left == 2);
    // A death between a reset and the removal of the old history's outputs.
    yard.store.reset(&id, &yard.file(), &template_layer()).unwrap();
    drop(yard.claim(&id));
    assert_eq!(names(&place.history(), ""), ["notes"]);
}

/// The disk of a workspace from before there were layers becomes its layer when it is claimed, from any step of that,
/// and goes with the workspace if it never is.
#[test]
fn former_disks_are_adopted() {
    let yard = Yard::new();
    for step in 0..4 {
        let claim = yard.ready();
        let (id, place) = (claim.id.clone(), claim.place.clone());
        let layer = LayerId::parse(id.as_str()).unwrap();
        // As the migration leaves it, or, at step 1, a process of the release before that had begun behind it.
        if step != 1 {
            yard.store.insert_layer_once(&layer).unwrap();
        }
        let head = (step != 1).then_some(id.as_str());
        let former = "UPDATE workspaces SET head = ?2, baseline = NULL WHERE id = ?1";
        yard.store.connection.execute(former, rusqlite::params![id.as_str(), head]).unwrap();
        fs::write(place.former_disk(), b"former work").unwrap();
        drop(claim);
        assert_eq!(yard.reconcile(), Reconciled::default());
        if step == 2 {
            // A death behind the rename.
            fs::rename(place.former_disk(), yard.directories.layer(&layer)).unwrap();
            assert_eq!(yard.reconcile(), Reconciled::default());
        }
        if step < 3 {
            for _ in 0..2 {
                drop(yard.claim(&id));
                assert_eq!(fs::read(yard.disk(&id)).unwrap(), b"former work");
                assert!(!place.former_disk().exists());
                assert_eq!(yard.store.chain(&layer).unwrap(), std::slice::from_ref(&layer));
                yard.reconcile();
            }
        }
        assert_eq!(yard.record(&id).baseline, None);
        let claim = yard.store.claim_for_removal(&yard.directories, &id).unwrap();
        yard.store.remove_workspace(claim).unwrap();
        assert!(!place.directory.exists() && yard.files().is_empty() && yard.rows().is_empty(), "{step}");
    }
}

/// A workspace that nothing stands on is gone with its layers as soon as it is removed, with what it was forked from
/// left alone; and a template's disk is kept by another name, whatever becomes of the template.
#[test]
fn layers_go_with_the_last_who_needs_them() {
    let yard = Yard::new();
    let (first, second) = (yard.ready(), yard.ready());
    fs::remove_file(yard.root.path().join("disk")).unwrap();
    assert_eq!(fs::read(yard.directories.layer(&template_layer())).unwrap(), b"template");
    yard.store.remove_workspace(first).unwrap();
    let mut expected = vec![template_layer().to_string(), yard.record(&second.id).head.to_string()];
    expected.sort();
    assert_eq!((yard.files(), yard.rows()), (expected.clone(), expected));
    yard.store.remove_workspace(second).unwrap();
    assert!(yard.files().is_empty() && yard.rows().is_empty());
}

/// A removal is not held up for long by who makes layers: what is left goes with the next command.
#[test]
fn removal_waits_for_nobody() {
    let yard = Yard::new();
    let claim = yard.ready();
    let id = claim.id.clone();
    let making = crate::birth_lock(&yard.directories).unwrap();
    yard.store.remove_workspace(claim).unwrap();
    assert!(yard.store.workspace(&id).unwrap().is_none() && yard.files().len() == 2);
    drop(making);
    yard.reconcile();
    assert!(yard.files().is_empty());
}

/// Outputs of shells and services go with their records alone, whatever their ids look like.
#[test]
fn outputs_of_shells_and_services_follow_their_records() {
    let yard = Yard::new();
    let claim = yard.ready();
    let (id, place) = (claim.id.clone(), claim.place.clone());
    let shell = |text: &str| crate::NewShell {
        id: crate::ShellId::parse(text).unwrap(),
        command: Vec::new(),
        directory: String::new(),
        user: None,
        columns: 80,
        rows: 24,
    };
    let (kept, other) = (shell("123456789012"), shell("000000000001"));
    yard.store.begin_shell(&id, &kept).unwrap();
    for shell in [&kept, &other] {
        OutputWriter::create(&place.shell_output(&shell.id), Keep::Tail).unwrap();
    }
    let log = place.service_log(&crate::ServiceName::parse("web").unwrap());
    crate::LogWriter::open(&log).unwrap();
    drop(claim);
    drop(yard.claim(&id));
    assert!(place.shell_output(&kept.id).exists() && !place.shell_output(&other.id).exists());
    assert!(!log.exists());
    assert_eq!(yard.store.shell(&id, "1234").unwrap().end.unwrap().outcome, crate::ShellOutcome::Lost);
}
