//! Parked VMs: taken once, by whoever renames their ticket, or gone.

use std::path::PathBuf;

use pyro_proto::shim::WorkspaceOrder;
use pyro_store::{WorkspaceId, WorkspaceState};

use super::model::{Log, vmm};
use super::workspaces::command;
use super::*;

/// A bench whose shim parks a VM, and what a claimer does.
struct Lot {
    bench: Bench,
    /// What a claimer may ask for.
    run: Purpose,
}

impl Lot {
    fn new() -> Lot {
        let mut bench = Bench::new(None);
        let run = bench.start.purpose.clone();
        let Purpose::Run { template, template_key, base, blank } = run.clone() else { unreachable!() };
        std::fs::write(base.to_path(), b"base").unwrap();
        let tickets = bench.directories.parked().join("template");
        std::fs::create_dir_all(&tickets).unwrap();
        let tickets = HostPath::from(tickets.as_path());
        bench.start.purpose =
            Purpose::Park { template, template_key, base, blank, tickets, idle_seconds: 100 };
        Lot { bench, run }
    }

    fn ticket(&self) -> PathBuf {
        self.bench.directories.parked().join("template").join(&self.bench.start.vm_id)
    }

    async fn parked(&self) {
        while !self.ticket().exists() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn place(&self) -> pyro_store::VmPlace {
        self.bench.directories.vm(&VmId::parse(&self.bench.start.vm_id).unwrap())
    }

    async fn connect(&self) -> Client {
        let (source, out) = UnixStream::connect(self.place().socket()).await.unwrap().into_split();
        let mut client = Client { frames: FrameReader::new(source), out };
        client.hello().await;
        client
    }

    /// Takes the ticket and gives the order.
    async fn claim(&self, purpose: Purpose) -> Client {
        self.claim_for(purpose, None).await
    }

    async fn claim_for(&self, purpose: Purpose, ttl_seconds: Option<u64>) -> Client {
        std::fs::rename(self.ticket(), self.place().claimed()).unwrap();
        let mut client = self.connect().await;
        let start = Start { purpose, ttl_seconds, ..self.bench.start.clone() };
        client.open(1, &Request::Start(Box::new(start))).await;
        client
    }
}

/// A parked VM has run a command before anybody takes it; it outlives who parked it, and becomes a run's.
#[tokio::test]
async fn a_parked_vm_becomes_a_run() {
    let (lot, log) = (Lot::new(), Log::default());
    lot.bench
        .run(vmm(&log), async |spawner| {
            drop(spawner);
            lot.parked().await;
            assert_eq!(log.lines().last().unwrap(), "true");
            let mut client = lot.claim(lot.run.clone()).await;
            client.started().await;
            client.open(5, &command("echo hello", false)).await;
            assert!(matches!(client.reply(5).await.1, Reply::Exited(_)));
            assert_eq!(lot.bench.store().vms().unwrap()[0].vm.purpose, "run");
        })
        .await;
    let prepared = log.lines().into_iter().filter(|line| line.starts_with("prepare Plain")).count();
    assert_eq!(prepared, 2, "once when it was parked, once for who took it");
}

/// It becomes a workspace whose disk is the one it had, and stays when its VM goes.
#[tokio::test]
async fn a_parked_vm_becomes_a_workspace() {
    let (lot, log) = (Lot::new(), Log::default());
    let bench = Bench::creating(false, None);
    let Purpose::Workspace(mut workspace) = bench.start.purpose.clone() else { unreachable!() };
    let Purpose::Run { template, template_key, base, blank } = lot.run.clone() else { unreachable!() };
    (workspace.template, workspace.template_key) = (template, template_key);
    if let WorkspaceOrder::Create(new) = &mut workspace.order {
        (new.base, new.blank) = (base, blank);
    }
    let id = WorkspaceId::parse(&workspace.id).unwrap();
    lot.bench
        .run(vmm(&log), async |spawner| {
            drop(spawner);
            lot.parked().await;
            let mut client = lot.claim(Purpose::Workspace(workspace)).await;
            client.started().await;
            client.stop().await;
        })
        .await;
    let record = lot.bench.store().workspace(&id).unwrap().unwrap();
    assert_eq!(record.state, WorkspaceState::Ready);
    assert!(lot.bench.directories.layer(&record.head).exists());
    assert!(log.lines().iter().any(|line| line.starts_with("prepare Empty")));
}

/// One whose time is over before it has become what was asked for says so.
#[tokio::test]
async fn a_time_to_live_may_be_too_short_for_a_parked_vm() {
    let (lot, log) = (Lot::new(), Log::default());
    lot.bench
        .run(vmm(&log), async |spawner| {
            drop(spawner);
            lot.parked().await;
            let mut client = lot.claim_for(lot.run.clone(), Some(0)).await;
            assert_eq!(client.failure(1).await.code, FailureCode::Expired);
        })
        .await;
}

/// Who has no ticket gets nothing, and who has one for something else loses it.
#[tokio::test]
async fn only_the_ticket_counts() {
    let (lot, log) = (Lot::new(), Log::default());
    lot.bench
        .run(vmm(&log), async |_spawner| {
            lot.parked().await;
            let mut stranger = lot.connect().await;
            assert!(stranger.frames.next().await.unwrap().is_none(), "a stranger was let in");
            let Purpose::Run { template, base, blank, .. } = lot.run.clone() else { unreachable!() };
            let other = Purpose::Run { template, template_key: "0".repeat(64), base, blank };
            let mut client = lot.claim(other).await;
            assert_eq!(client.failure(1).await.code, FailureCode::Refused);
        })
        .await;
    assert!(!lot.ticket().exists());
}

/// Nobody waits for ever: an idle one goes with its ticket, and so does one whose claimer never comes.
#[tokio::test(start_paused = true)]
async fn idle_ones_go() {
    for claimed in [false, true] {
        let (lot, log) = (Lot::new(), Log::default());
        lot.bench
            .run(vmm(&log), async |spawner| {
                drop(spawner);
                lot.parked().await;
                if claimed {
                    std::fs::rename(lot.ticket(), lot.place().claimed()).unwrap();
                }
            })
            .await;
        assert!(!lot.ticket().exists());
    }
}

/// A drainer hears when nothing is left.
#[tokio::test]
async fn a_taken_one_can_be_ended() {
    let (lot, log) = (Lot::new(), Log::default());
    lot.bench
        .run(vmm(&log), async |_spawner| {
            lot.parked().await;
            std::fs::rename(lot.ticket(), lot.place().claimed()).unwrap();
            let mut client = lot.connect().await;
            client.open(1, &Request::Stop { discard: true }).await;
            assert_eq!(client.reply(1).await.1, Reply::Stopped);
        })
        .await;
}
