//! Services, seen from clients that come and go, and from one VM of a workspace to the next.

use pyro_proto::agent::{FailureKind, Probe, Restart, Service};
use pyro_proto::shim::Subject;
use pyro_store::{LogReader, ServiceName, ServiceRecord, ServiceState};

use super::model::{Log, vmm};
use super::workspaces::{code_of, command};
use super::*;

fn start(name: &str, words: &str, restart: Restart) -> Request {
    let Request::Exec(Exec { mut command, .. }) = command(words, false) else { unreachable!() };
    command.timeout_ms = None;
    let service = Service {
        command,
        probe: Some(Probe::File(b"/workspace/.ready".to_vec())),
        owns_address: true,
        ready_timeout_ms: 1_000,
        ready_interval_ms: 100,
        restart,
    };
    Request::StartService { name: name.to_owned(), service: Box::new(service) }
}

fn stop(name: &str) -> Request {
    Request::StopService { name: name.to_owned(), grace_ms: 1_000 }
}

fn restart(name: &str) -> Request {
    Request::RestartService { name: name.to_owned(), grace_ms: 1_000 }
}

impl Bench {
    fn service(&self, name: &str) -> ServiceRecord {
        let name = ServiceName::parse(name).unwrap();
        self.store().service(&self.workspace_id(), &name).unwrap().unwrap()
    }

    fn log(&self, name: &str) -> String {
        let place = self.directories.workspace(&self.workspace_id());
        let reader = LogReader::open(&place.service_log(&ServiceName::parse(name).unwrap())).unwrap();
        String::from_utf8(reader.read_from(0, 1 << 20).unwrap().bytes).unwrap()
    }
}

fn times(log: &Log, line: &str) -> usize {
    log.lines().iter().filter(|seen| *seen == line).count()
}

/// A service is ready when the agent says so, goes on without its client, and is stopped once for all who ask.
#[tokio::test]
async fn services_outlive_their_clients() {
    let (bench, log) = (Bench::creating(false, None), Log::default());
    bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            let mut starter = bench.another().await;
            assert_eq!(starter.call(1, &start("web", "run", Restart::No)).await, Reply::ServiceReady);
            drop(starter);
            let taken = client.call(2, &start("web", "run", Restart::No)).await;
            assert_eq!(code_of(&taken), Some(FailureCode::ServiceTaken));
            let record = bench.service("web");
            assert_eq!(
                (record.news.state, record.news.wanted, record.service.readiness.as_str()),
                (ServiceState::Running, true, "file")
            );
            client.open(3, &Request::Follow { subject: Subject::Service("web".to_owned()), from: 0 }).await;
            client.open(4, &stop("web")).await;
            client.open(5, &stop("web")).await;
            let (followed, [ended, one, other]) = client.replies([3, 4, 5]).await;
            assert!(matches!(ended, Reply::Exited(_)), "{ended:?}");
            assert_eq!(String::from_utf8(followed).unwrap(), bench.log("web"));
            assert!(bench.log("web").ends_with(" stderr F hello\n"), "{}", bench.log("web"));
            assert_eq!([one, other], [Reply::ServiceStopped, Reply::ServiceStopped]);
            let record = bench.service("web");
            assert_eq!(
                (record.news.state, record.news.wanted, record.news.exit_code),
                (ServiceState::Stopped, false, Some(143))
            );
            assert_eq!(client.call(6, &stop("web")).await, Reply::ServiceStopped);
            for request in [stop("other"), restart("other"), stop("../x")] {
                assert_eq!(code_of(&client.call(7, &request).await), Some(FailureCode::ServiceUnknown));
            }
            client.stop().await;
        })
        .await;
    assert_eq!(times(&log, "stop 15"), 1, "{:?}", log.lines());
}

/// A service that ends before it is ready fails at once, whatever its policy; one that has been ready comes back.
#[tokio::test]
async fn failures_and_restarts_are_told_apart() {
    let (bench, log) = (Bench::creating(false, None), Log::default());
    bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            let refused = client.call(2, &start("early", "early", Restart::Always)).await;
            assert!(matches!(&refused, Reply::Refused(failure) if failure.kind == FailureKind::EndedEarly));
            let record = bench.service("early");
            assert_eq!((record.news.state, record.news.wanted), (ServiceState::Failed, false));
            assert_eq!(record.news.exit_code, Some(6));
            assert_eq!(record.news.reason.as_deref(), Some("it exited with code 6 before it was ready"));
            assert_eq!(client.call(3, &start("again", "again", Restart::Always)).await, Reply::ServiceReady);
            while bench.service("again").news.restarts == 0
                || bench.service("again").news.state != ServiceState::Running
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let news = bench.service("again").news;
            assert_eq!((news.exit_code, news.reason.as_deref()), (Some(3), Some("it exited with code 3")));
            assert_eq!(client.call(4, &restart("again")).await, Reply::ServiceReady);
            // One that failed can be started under its name, as it was.
            let again = client.call(5, &restart("early")).await;
            assert!(matches!(again, Reply::Refused(_)), "{again:?}");
            client.stop().await;
        })
        .await;
    assert_eq!((times(&log, "serve again"), times(&log, "serve early")), (2, 2));
}

/// A service that ran and does not become ready when it is started anew is still to come back with its workspace, however
/// often that is tried, until somebody stops it.
#[tokio::test]
async fn a_restart_that_fails_takes_no_wish_along() {
    let (bench, log) = (Bench::creating(false, None), Log::default());
    bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            assert_eq!(client.call(2, &start("web", "once", Restart::Always)).await, Reply::ServiceReady);
            for stream in [3, 4] {
                let again = client.call(stream, &restart("web")).await;
                assert!(matches!(again, Reply::Refused(_)), "{again:?}");
                let record = bench.service("web");
                assert_eq!((record.news.state, record.news.wanted), (ServiceState::Failed, true));
            }
            assert_eq!(client.call(5, &stop("web")).await, Reply::ServiceStopped);
            let again = client.call(6, &restart("web")).await;
            assert!(matches!(again, Reply::Refused(_)), "{again:?}");
            assert!(!bench.service("web").news.wanted);
            client.stop().await;
        })
        .await;
}

/// A stop of the workspace ends its services first; those with a policy come back with it, those that were stopped or
/// have none do not, and who asks hears which have failed to.
#[tokio::test]
async fn services_come_back_with_their_workspace() {
    let (bench, log) = (Bench::creating(false, None), Log::default());
    bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            for (stream, name, restart) in
                [(2, "always", Restart::Always), (3, "never", Restart::No), (4, "stopped", Restart::Always)]
            {
                assert_eq!(client.call(stream, &start(name, "run", restart)).await, Reply::ServiceReady);
            }
            assert_eq!(client.call(5, &stop("stopped")).await, Reply::ServiceStopped);
            client.stop().await;
        })
        .await;
    assert_eq!(times(&log, "stop 15"), 3);
    let last = log.lines().iter().rposition(|line| line == "stop 15");
    assert!(last < log.lines().iter().rposition(|line| line == "sync"), "{:?}", log.lines());
    for (name, wanted) in [("always", true), ("never", true), ("stopped", false)] {
        assert_eq!(
            (bench.service(name).news.state, bench.service(name).news.wanted),
            (ServiceState::Stopped, wanted)
        );
    }
    let bench = bench.reopening();
    bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            let settled = client.call(2, &Request::AwaitServices).await;
            assert_eq!(settled, Reply::ServicesSettled(Vec::new()));
            assert_eq!(bench.service("always").news.state, ServiceState::Running);
            for name in ["never", "stopped"] {
                assert_eq!(bench.service(name).news.state, ServiceState::Stopped, "{name}");
            }
            client.stop().await;
        })
        .await;
}

/// A VM that is killed takes its services along: they are recorded as lost, and those with a policy come back.
#[tokio::test]
async fn lost_services_come_back() {
    let (bench, log) = (Bench::creating(false, None), Log::default());
    bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            assert_eq!(client.call(2, &start("web", "run", Restart::OnFailure)).await, Reply::ServiceReady);
            client.open(3, &command("panic", false)).await;
            client.closed().await;
        })
        .await;
    assert_eq!(
        (bench.service("web").news.state, bench.service("web").news.wanted),
        (ServiceState::Lost, true)
    );
    let bench = bench.reopening();
    bench
        .run(vmm(&log), async |mut client| {
            client.started().await;
            assert_eq!(client.call(2, &Request::AwaitServices).await, Reply::ServicesSettled(Vec::new()));
            assert_eq!(bench.service("web").news.state, ServiceState::Running);
            assert_eq!(client.call(3, &Request::Stop { discard: true }).await, Reply::Stopped);
        })
        .await;
    assert_eq!(times(&log, "stop 15"), 0, "what is thrown away is not asked");
}
