//! Many at once: whoever keeps to the rules finds every layer's file, and in the end nothing is left.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::yard::{Yard, template_layer};
use crate::{
    ClaimError, Collected, Directories, Durability, LayerId, NewSnapshot, NewWorkspace, Origin, Replaced,
    Sealing, SnapshotName, Store, WorkspaceClaim, WorkspaceId, birth_lock,
};

const WORKERS: u64 = 4;
const STEPS: u64 = 60;
const SNAPSHOTS: u64 = 5;

/// One process, as it were: a connection of its own, random numbers, the workspaces it holds.
struct Worker<'a> {
    yard: &'a NewWorkspace,
    directories: &'a Directories,
    root: &'a std::path::Path,
    store: Store,
    random: u64,
    claims: Vec<WorkspaceClaim>,
    /// Its workspaces that nobody runs.
    stopped: Vec<WorkspaceId>,
}

impl Worker<'_> {
    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }

    fn file(&self) -> LayerId {
        let id = LayerId::random().unwrap();
        fs::write(self.directories.layer(&id), b"layer").unwrap();
        id
    }

    fn create(&mut self, origin: Origin) {
        let new = NewWorkspace {
            id: WorkspaceId::random().unwrap(),
            head: LayerId::random().unwrap(),
            origin,
            ..self.yard.clone()
        };
        let path = |name: &str| self.root.join(name);
        let claim =
            self.store.create_workspace(self.directories, &new, &path("base"), &path("blank")).unwrap();
        fs::write(self.directories.layer(&new.head), b"head").unwrap();
        assert!(self.store.set_ready(&new.id, None).unwrap());
        self.claims.push(claim);
    }

    /// Has a stopped workspace run again; the cleaner may have it for a moment.
    fn start(&mut self, id: WorkspaceId) {
        loop {
            match self.store.claim_workspace(self.directories, &id) {
                Ok(claim) => return self.claims.push(claim),
                Err(ClaimError::Held(_)) => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn step(&mut self) {
        if self.below(8) == 0
            && let Some(id) = self.stopped.pop()
        {
            self.start(id);
        }
        let Some(at) = (self.claims.len() as u64).checked_sub(1).map(|last| self.below(last + 1) as usize)
        else {
            return self.create(self.yard.origin.clone());
        };
        let id = self.claims[at].id.clone();
        let name = SnapshotName::parse(&format!("s{}", self.below(SNAPSHOTS))).unwrap();
        let birth = birth_lock(self.directories).unwrap();
        let found = self.store.snapshot(&id, &name).unwrap();
        match (self.below(7), found) {
            (0, _) => drop(self.store.extend(&id, &self.file(), &Sealing::None).unwrap()),
            (1, None) => {
                let layer = self.store.workspace(&id).unwrap().unwrap().head;
                let snapshot = NewSnapshot { name, layer, has_memory: false, entries: 0, bytes: 0 };
                self.store.extend(&id, &self.file(), &Sealing::Snapshot(snapshot)).map(drop).unwrap();
            }
            (1 | 2, Some(_)) => assert!(self.store.delete_snapshot(&id, &name).unwrap()),
            (3, Some(found)) => self.store.reset(&id, &self.file(), &found.layer).unwrap(),
            (3, None) => {
                let baseline = self.store.snapshot(&id, &SnapshotName::baseline()).unwrap().unwrap();
                self.store.reset(&id, &self.file(), &baseline.layer).unwrap();
            }
            (4, Some(found)) => self.create(Origin::Layer(found.layer)),
            (5, _) => {
                self.claims.swap_remove(at);
                return self.stopped.push(id);
            }
            _ => {
                drop(birth);
                let claim = self.claims.swap_remove(at);
                return self.store.remove_workspace(claim).unwrap();
            }
        }
        let head = self.store.workspace(&id).unwrap().unwrap().head;
        for layer in self.store.chain(&head).unwrap() {
            assert!(self.directories.layer(&layer).exists(), "{layer} under {head}");
        }
        drop(birth);
    }
}

fn now_as_seed() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64
}

/// Makes one of all that can be.
fn merge_all(store: &Store, directories: &Directories) {
    let file = || {
        let merged = LayerId::random().unwrap();
        let _birth = birth_lock(directories).unwrap();
        fs::write(directories.layer(&merged), b"merged").unwrap();
        merged
    };
    for (lower, upper) in store.mergeable().unwrap() {
        let merged = file();
        if store.replace_layers(directories, &lower, &upper, &merged).unwrap() != Replaced::Done {
            let _ = fs::remove_file(directories.layer(&merged));
        }
    }
    for pair in store.mergeable_heads().unwrap() {
        let Ok(claim) = store.claim_workspace(directories, &pair.workspace) else { continue };
        let merged = file();
        if store.replace_head(directories, &claim, &pair, &merged).unwrap() != Replaced::Done {
            let _ = fs::remove_file(directories.layer(&merged));
        }
    }
}

/// Snapshots, resets, forks, mergers and removals at once: no disk ever lacks a layer, and none is left over.
#[test]
fn no_layer_is_lost_or_left() {
    let yard = Yard::new();
    let new = yard.new_workspace(None);
    let seed = std::env::var("PYRO_TEST_SEED").map_or_else(|_| now_as_seed(), |seed| seed.parse().unwrap());
    let is_over = AtomicBool::new(false);
    let open = || Store::open(&yard.directories.database(), Durability::Crash).unwrap();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|number| {
                let (new, directories, root, open) = (&new, &yard.directories, yard.root.path(), &open);
                scope.spawn(move || {
                    let random = (seed ^ 0x9e37_79b9_7f4a_7c15).rotate_left(number as u32).max(1);
                    let (store, claims, stopped) = (open(), Vec::new(), Vec::new());
                    let mut worker = Worker { yard: new, directories, root, store, random, claims, stopped };
                    for _ in 0..STEPS {
                        worker.step();
                    }
                    std::mem::take(&mut worker.stopped).into_iter().for_each(|id| worker.start(id));
                    for claim in worker.claims {
                        worker.store.remove_workspace(claim).unwrap();
                    }
                })
            })
            .collect();
        let cleaner = scope.spawn(|| {
            let store = open();
            while !is_over.load(Ordering::Relaxed) {
                merge_all(&store, &yard.directories);
                store.reconcile(&yard.directories).unwrap();
            }
        });
        let ends: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        is_over.store(true, Ordering::Relaxed);
        let cleaned = cleaner.join();
        assert!(cleaned.is_ok() && ends.iter().all(Result::is_ok), "PYRO_TEST_SEED={seed}");
    });
    yard.reconcile();
    assert!(
        yard.files().is_empty() && yard.rows().is_empty(),
        "PYRO_TEST_SEED={seed} {:?} {:?}",
        yard.files(),
        yard.rows()
    );
    assert_eq!(yard.store.collect_layers(&yard.directories).unwrap(), Collected::default());
    assert!(!yard.directories.layer(&template_layer()).exists());
}
