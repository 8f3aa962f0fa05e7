use std::fs;
use std::path::Path;
use std::process::Command;

/// Makes a program of a script. Another process writes it: what this one writes, a child that another test is just starting
/// may have open when it is to be executed.
pub(crate) fn executable(path: &Path, script: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let draft = path.with_extension("draft");
    fs::write(&draft, script).unwrap();
    let installed = Command::new("install").args(["-m", "755"]).args([draft.as_path(), path]).status();
    assert!(installed.unwrap().success());
    fs::remove_file(draft).unwrap();
}
