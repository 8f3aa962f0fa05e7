//! Where calls run. The core's futures stay on the thread that they began on, so there are a few threads for them,
//! each with any number of calls that wait; the protocol has a thread of its own, and no call holds it up.

use std::path::PathBuf;
use std::sync::Arc;

use pyro::{Code, Config, Failure, GitRules};
use rmcp::RoleServer;
use rmcp::model::{CallToolResult, JsonObject};
use rmcp::service::RequestContext;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{LocalPoolHandle, TaskTracker};

use crate::answer::failed;
use crate::call::Call;
use crate::limits::{CALLS_MAX, END_SECONDS_MAX, THREADS_MAX};
use crate::profile::Profile;
use crate::progress::{Report, while_telling};
use crate::project::Project;
use crate::tools::Tool;

/// What a server is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where everything is.
    pub config: Config,
    /// Which tools there are.
    pub profile: Profile,
    /// What of the host may be read and written.
    pub project: Project,
    /// What git ignores here.
    pub git_rules: GitRules,
    /// Where contents lie until they are written.
    pub temporary: PathBuf,
}

/// All calls of a server.
#[derive(Clone, Debug)]
pub(crate) struct Engine(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: Options,
    pool: LocalPoolHandle,
    tasks: TaskTracker,
    slots: Arc<Semaphore>,
    end: CancellationToken,
    /// Held between the look at a path of the host and the writing there.
    host_writes: Mutex<()>,
}

impl Engine {
    pub(crate) fn new(options: Options) -> Engine {
        Engine(Arc::new(Inner {
            options,
            pool: LocalPoolHandle::new(THREADS_MAX),
            tasks: TaskTracker::new(),
            slots: Arc::new(Semaphore::new(CALLS_MAX)),
            end: CancellationToken::new(),
            host_writes: Mutex::new(()),
        }))
    }

    pub(crate) fn options(&self) -> &Options {
        &self.0.options
    }

    pub(crate) fn host_writes(&self) -> &Mutex<()> {
        &self.0.host_writes
    }

    /// Calls everything off that runs, now and from now on.
    pub(crate) fn call_off(&self) -> CancellationToken {
        self.0.end.clone()
    }

    /// Runs a tool. It ends when its request is called off, its client goes, or the server ends: what it holds goes
    /// with it, commands and VMs included.
    pub(crate) async fn call(
        &self,
        tool: &'static Tool,
        arguments: JsonObject,
        context: &RequestContext<RoleServer>,
    ) -> CallToolResult {
        let report = Report::default();
        let told = report.clone();
        let work = self.run(&context.ct, report, async move |call| tool.run(&call, arguments).await);
        let done = while_telling(work, &told, context).await;
        done.unwrap_or_else(|failure| failed(&failure))
    }

    /// Does work with the core, as a call of its own.
    pub(crate) async fn run<T, F>(
        &self,
        ct: &CancellationToken,
        report: Report,
        work: F,
    ) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: AsyncFnOnce(Call) -> Result<T, Failure> + Send + 'static,
    {
        let Ok(slot) = self.0.slots.clone().try_acquire_owned() else {
            return Err(Failure::new(Code::System, format!("{CALLS_MAX} calls run already"))
                .because("that is as many as this server does at once")
                .fix("wait for one of them to end, or run long commands with detach"));
        };
        let called_off = self.0.end.child_token();
        let _when_dropped = called_off.clone().drop_guard();
        let engine = self.clone();
        let token = called_off.clone();
        let working = self.spawn(move || async move {
            let _slot = slot;
            let call = Call::open(engine, report)?;
            tokio::select! {
                done = work(call) => done,
                () = token.cancelled() => Err(Failure::new(Code::Interrupted, "the call was called off")
                    .because("its client cancelled it, or went")),
            }
        });
        tokio::select! {
            done = working => done,
            () = ct.cancelled() => Err(Failure::new(Code::Interrupted, "the call was cancelled")),
        }
    }

    /// Starts work that is waited for when the server ends.
    pub(crate) async fn spawn<T, W, F>(&self, work: W) -> Result<T, Failure>
    where
        T: Send + 'static,
        W: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<T, Failure>> + 'static,
    {
        let tracked = self.0.tasks.token();
        let begin = move || async move {
            let _tracked = tracked;
            work().await
        };
        let joined = self.0.pool.spawn_pinned(begin).await;
        joined.unwrap_or_else(|error| Err(Failure::new(Code::System, "the call broke off").because(error)))
    }

    /// Calls off what runs, and waits until it has cleaned up.
    pub(crate) async fn end(&self) {
        self.0.end.cancel();
        self.0.tasks.close();
        let _ = timeout(END_SECONDS_MAX, self.0.tasks.wait()).await;
    }
}
