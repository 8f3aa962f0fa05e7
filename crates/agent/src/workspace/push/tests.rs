//! A push that fails, or whose guest dies, at every step of it.

use std::os::unix::fs::symlink as link;

use super::super::tests::{Bench, Streamed, directory, file, inlet, remove_item, snapshot, stream, symlink};
use super::apply::Ground;
use super::plan::{Plan, Step};
use super::planner;
use super::recover;
use super::staging::Staged;

/// A tree, and a push that does everything to it that a push can do.
fn bench() -> (Bench, Vec<Streamed>) {
    let bench = Bench::new();
    for (name, contents) in [("d/a", "1"), ("d/b", "2"), ("d/sub/c", "3"), ("gone/x/y", "4"), ("kind/z", "5")]
    {
        bench.write(name, contents);
    }
    link("d/a", bench.tree("link")).unwrap();
    std::fs::hard_link(bench.tree("d/b"), bench.tree("d/b2")).unwrap();
    let items = [
        vec![remove_item("gone"), remove_item("kind"), remove_item("d/sub/c"), directory("d")],
        file("d/a", "new"),
        file("d/b", "new"),
        file("d/sub/added", "new"),
        file("link", "new"),
        file("kind", "a file now"),
        vec![directory("whole"), directory("whole/deep"), symlink("whole/s", "x")],
        file("whole/deep/f", "new"),
    ]
    .concat();
    (bench, items)
}

/// Stages and plans on a fresh bench; the plan is kept as a push keeps it.
fn planned() -> (Bench, Plan) {
    let (bench, items) = bench();
    let plan = kept_plan(&bench, &items);
    (bench, plan)
}

fn kept_plan(bench: &Bench, items: &[Streamed]) -> Plan {
    let plan = bench.with_sides(|sides| {
        let staged = Staged::receive(sides.stage, 7, &mut inlet(&stream(items))).unwrap();
        planner::plan(sides.tree, staged, b"").unwrap()
    });
    bench.disk.keep_plan(&plan.encode().unwrap()).unwrap();
    plan
}

/// Begins a push and stops it after so many steps, as a guest that dies does; gives how many it has.
pub(crate) fn die_after(bench: &Bench, items: &[Streamed], done: usize) -> usize {
    let plan = kept_plan(bench, items);
    with_ground(bench, &plan, |ground| {
        for step in plan.steps.iter().take(done) {
            ground.step(step).unwrap();
        }
    });
    plan.steps.len()
}

fn with_ground<T>(bench: &Bench, plan: &Plan, act: impl FnOnce(&mut Ground) -> T) -> T {
    bench.with_sides(|sides| act(&mut Ground::open(sides, plan).unwrap()))
}

/// What the next start does.
pub(crate) fn recovered(bench: &Bench) {
    bench.with_sides(|sides| recover(&bench.disk, sides)).unwrap();
    assert!(bench.disk.plan(1).unwrap().is_none());
    assert_eq!(std::fs::read_dir(bench.stage("")).unwrap().count(), 0);
}

/// A guest that dies between any two steps, or within one, finds its tree as it was: contents, modes and times.
#[test]
fn a_death_at_any_step_is_undone() {
    let count = planned().1.steps.len();
    assert!(count >= 9, "{count} steps");
    for done in 0..=count {
        for half in [false, true] {
            let (bench, plan) = planned();
            let before = snapshot(&bench.tree(""));
            with_ground(&bench, &plan, |ground| {
                for step in &plan.steps[..done] {
                    ground.step(step).unwrap();
                }
                if let (true, Some(Step::Replace { place, old, .. })) = (half, plan.steps.get(done)) {
                    ground.keep(place, *old).unwrap();
                }
            });
            assert!(done == 0 || snapshot(&bench.tree("")) != before, "{done}");
            recovered(&bench);
            assert_eq!(snapshot(&bench.tree("")), before, "after {done} steps, half: {half}");
        }
    }
}

/// A guest that dies after the last step too, directories' modes and times set, finds its tree as it was.
#[test]
fn a_death_before_the_end_is_undone() {
    let (bench, plan) = planned();
    let before = snapshot(&bench.tree(""));
    with_ground(&bench, &plan, |ground| ground.apply(&plan)).unwrap();
    recovered(&bench);
    assert_eq!(snapshot(&bench.tree("")), before);
}

/// A guest that dies while it undoes goes on undoing at the next start.
#[test]
fn an_undoing_that_dies_is_repeated() {
    let count = planned().1.steps.len();
    for undone in 0..=count {
        let (bench, plan) = planned();
        let before = snapshot(&bench.tree(""));
        with_ground(&bench, &plan, |ground| {
            ground.apply(&plan).unwrap();
            for step in plan.steps.iter().rev().take(undone) {
                ground.undo_step(step).unwrap();
                ground.undo_step(step).unwrap();
            }
        });
        recovered(&bench);
        recovered(&bench);
        assert_eq!(snapshot(&bench.tree("")), before, "after {undone} undone");
    }
}

/// A push that a command of the guest thwarts at any step leaves what it found.
#[test]
fn a_thwarted_step_undoes_those_before() {
    let count = planned().1.steps.len();
    for thwarted in 0..count {
        let (bench, plan) = planned();
        let place = |step: &Step| {
            let place = match step {
                Step::Take { place, .. } | Step::Replace { place, .. } | Step::Put { place, .. } => place,
            };
            String::from_utf8(place.as_bytes().to_vec()).unwrap()
        };
        let step = &plan.steps[thwarted];
        let before = snapshot(&bench.tree(""));
        let blocker = bench.stage("7/old");
        let failed = with_ground(&bench, &plan, |ground| {
            for step in &plan.steps[..thwarted] {
                ground.step(step).unwrap();
            }
            match step {
                // The name that would be kept is taken.
                Step::Take { old, .. } | Step::Replace { old, .. } => {
                    std::fs::create_dir(blocker.join(old.to_string())).unwrap();
                }
                Step::Put { .. } => std::fs::create_dir(bench.tree(&place(step))).unwrap(),
            }
            let failed = ground.step(step).is_err();
            match step {
                Step::Take { old, .. } | Step::Replace { old, .. } => {
                    std::fs::remove_dir(blocker.join(old.to_string())).unwrap();
                }
                Step::Put { .. } => std::fs::remove_dir(bench.tree(&place(step))).unwrap(),
            }
            ground.undo(&plan).unwrap();
            failed
        });
        assert!(failed, "step {thwarted} was not thwarted");
        assert_eq!(snapshot(&bench.tree("")), before, "step {thwarted}");
    }
}

/// The plan's form on the disk: a guest of a later version must still undo it.
#[test]
fn a_plan_of_today_is_read_tomorrow() {
    let kept = b"pyro push 1\n\x07\x03\x00\x01a\x01\x01\x06root/b\x01b\x02\x02\x06root/c\x01c\x01\x00\xed\x03\x02\x05\x00";
    let path = |text: &str| pyro_proto::tree::TreePath::parse(text).unwrap();
    let plan = Plan::decode(kept).unwrap();
    let steps = [
        Step::Take { place: path("a"), old: 1 },
        Step::Replace { staged: path("root/b"), place: path("b"), old: 2 },
        Step::Put { staged: path("root/c"), place: path("c") },
    ];
    assert_eq!((plan.number, &plan.steps[..], plan.directories.len()), (7, &steps[..], 1));
    assert_eq!(plan.directories[0].was.0, 0o755);
    assert_eq!(plan.encode().unwrap(), kept);
    assert!(Plan::decode(b"pyro push 2\n").is_err());
    assert!(Plan::decode(&kept[..kept.len() - 1]).is_err());
}

/// Nothing of a push is seen before it is put in place.
#[test]
fn planning_changes_nothing() {
    let (bench, _) = bench();
    let before = snapshot(&bench.tree(""));
    let (bench, plan) = planned();
    assert_eq!(
        snapshot(&bench.tree("")).into_keys().collect::<Vec<_>>(),
        before.into_keys().collect::<Vec<_>>()
    );
    assert!(plan.directories.iter().any(|touched| touched.becomes.is_some()));
}
