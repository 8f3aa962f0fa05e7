//! The patch is exact: for any edits in the guest, `diff | git apply` on a copy of the seed gives the guest's
//! tree, byte for byte, modes and links included.
//!
//! A workspace is edited, compared, edited further and compared again, with edits from a generator that one Perl process
//! in the guest does; the guest's tree is taken by its own `tar`, not by pyro. `PYRO_TEST_CASES` asks for more of them, and
//! `PYRO_TEST_SEED` repeats a run whose seed a failure has printed.

mod edits;
mod seeds;

use std::path::Path;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use crate::support::Machine;
use crate::support::tree::{Tree, assert_same, copy, git_apply, unpack};
use edits::{Edit, program};

/// Trees of one seed that are compared in CI, on average; there are four seeds.
const CASES_DEFAULT: u32 = 50;

/// So many of them at most in one workspace, one at least: to make and seed one takes as long as two of them.
const STAGES_MAX: usize = 5;
const STAGES_MEAN: u32 = 3;

/// Steps in which the edits of a workspace that fails become fewer: each is another workspace.
const SHRINK_STEPS_MAX: u32 = 80;

#[test]
fn a_small_project_comes_back_exactly() {
    // Promise: the patch is exact, for a repository of source files.
    round_trip(seeds::project);
}

#[test]
fn a_repository_of_odd_files_comes_back_exactly() {
    // Promise: the patch is exact, whatever files are called and whatever is in them.
    round_trip(seeds::odd);
}

#[test]
fn a_repository_with_a_long_history_comes_back_exactly() {
    // Promise: the patch is exact, for a repository of many commits, whose `.git` goes along.
    round_trip(seeds::long_history);
}

#[test]
fn this_project_comes_back_exactly() {
    // Promise: the patch is exact, for this project's own tree.
    round_trip(seeds::this_project);
}

fn round_trip(make_seed: fn(&Path)) {
    let machine = Machine::new();
    let seed = machine.root().join("seed");
    make_seed(&seed);
    let paths = seeds::paths(&seed);
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let random = number("PYRO_TEST_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let cases = number("PYRO_TEST_CASES").map_or(CASES_DEFAULT, |cases| u32::try_from(cases).unwrap());
    let workspaces = cases.div_ceil(STAGES_MEAN);
    println!("PYRO_TEST_SEED={random} workspaces={workspaces} files={}", paths.len());
    let config = Config {
        cases: workspaces,
        max_shrink_iters: SHRINK_STEPS_MAX,
        failure_persistence: None,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&random.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let strategy =
        proptest::collection::vec(proptest::collection::vec(edits::edit(paths), 1..40), 1..=STAGES_MAX);
    let outcome = runner.run(&strategy, |stages| {
        let checked = std::panic::catch_unwind(|| check(&machine, &seed, &stages));
        checked.map_err(|panic| TestCaseError::fail(text_of(&panic)))
    });
    if let Err(error) = outcome {
        panic!("with PYRO_TEST_SEED={random}: {error}");
    }
}

/// One workspace: seed, then edit, diff, apply and compare, over and over.
fn check(machine: &Machine, seed: &Path, stages: &[Vec<Edit>]) {
    let workspace = machine.seeded(seed);
    // Removed as a whole: where inodes were freed just now ext4 takes four times as long to make others.
    let scratch = tempfile::tempdir_in(machine.root()).unwrap();
    for (stage, edits) in stages.iter().enumerate() {
        workspace.perl(program(edits));
        let patch = workspace.patch();
        let tree = |whose: &str| scratch.path().join(format!("{whose}_{stage}"));
        let (patched, guest) = (tree("patched"), tree("guest"));
        copy(seed, &patched);
        git_apply(&patched, &patch);
        unpack(&workspace.tar(), &guest);
        let what = format!("stage {stage}: the patched seed is the guest's tree");
        assert_same(&Tree::as_git_sees(&guest), &Tree::as_git_sees(&patched), &what);
    }
}

fn text_of(panic: &Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
