//! The shells of one workspace as its shim knows them: their records, what they print, what is typed into them.
//! A record is written before anybody hears of what it says.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use pyro_proto::StreamId;
use pyro_proto::agent::{self, Exited, Outcome, TerminalSize};
use pyro_proto::shim::{Failure, Reply};
use pyro_proto::window::ReceiveWindow;
use pyro_store::{
    Keep, NewShell, OutputReader, ShellEnd, ShellId, ShellOutcome, Store, WorkspaceId, WorkspacePlace,
};

use crate::call::{ClientId, Owner, ShellKey};
use crate::driver::Fate;
use crate::failure::{failure, record_failed, system};
use crate::followers::{Ended, Reader, Source};
use crate::limits::SHELLS_OPEN_MAX;
use crate::recorder::end_of;
use crate::tape::Tape;
use crate::typing::Typing;

/// All of them.
#[derive(Debug)]
pub(crate) struct Shells {
    store: Rc<Store>,
    workspace: WorkspaceId,
    place: WorkspacePlace,
    open: BTreeMap<ShellKey, Shell>,
    next: u32,
    /// Ends that the database did not take.
    unsaved: HashMap<ShellId, ShellEnd>,
    /// Who sits at one, and how much each may still send.
    pub(crate) attached: HashMap<Owner, Attached>,
    sizes_told: u64,
}

/// One that runs.
#[derive(Debug)]
pub(crate) struct Shell {
    pub(crate) new: NewShell,
    /// Its call at the agent.
    pub(crate) stream: StreamId,
    pub(crate) typing: Typing,
    /// Who waits for its end.
    pub(crate) closers: Vec<Owner>,
    tape: Tape,
}

/// Somebody who sits at a shell.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) key: ShellKey,
    pub(crate) window: ReceiveWindow,
    /// The size of their window, and how many sizes were told before: the last one holds.
    size: Option<(u64, TerminalSize)>,
}

impl Attached {
    /// Nothing is known of their window yet.
    pub(crate) fn to(key: ShellKey) -> Attached {
        Attached { key, window: ReceiveWindow::default(), size: None }
    }
}

/// What has to be told when a shell has ended.
#[derive(Debug)]
pub(crate) struct ShellEnded {
    pub(crate) ended: Ended,
    pub(crate) closers: Vec<Owner>,
    pub(crate) writers: Vec<Owner>,
}

impl Shells {
    /// Of who holds the workspace.
    pub(crate) fn new(store: Rc<Store>, workspace: WorkspaceId, place: WorkspacePlace) -> Shells {
        Shells {
            store,
            workspace,
            place,
            open: BTreeMap::new(),
            next: 0,
            unsaved: HashMap::new(),
            attached: HashMap::new(),
            sizes_told: 0,
        }
    }

    /// Records a shell that is about to be opened.
    pub(crate) fn begin(&mut self, command: &agent::Exec, stream: StreamId) -> Result<ShellKey, Failure> {
        let lossy = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        let size = command.terminal.as_ref().map(|terminal| terminal.size);
        let new = NewShell {
            id: ShellId::random().map_err(|error| system("no random numbers can be had", &error))?,
            command: command.argv.iter().map(lossy).collect(),
            directory: command.directory.as_ref().map_or_else(|| "/workspace".to_owned(), lossy),
            user: command.user.clone(),
            columns: size.map_or(0, |size| size.columns),
            rows: size.map_or(0, |size| size.rows),
        };
        self.begin_new(new, stream)
    }

    /// The same for one that runs already, from before a pause or in a copy of another workspace.
    pub(crate) fn take_over(&mut self, new: NewShell, stream: StreamId) -> Result<ShellKey, Failure> {
        if let Ok(tape) = Tape::append_to(&self.place.shell_output(&new.id)) {
            self.store.revive_shell(&self.workspace, &new).map_err(|error| record_failed(&error))?;
            return Ok(self.enter(new, stream, tape));
        }
        self.begin_new(new, stream)
    }

    fn begin_new(&mut self, new: NewShell, stream: StreamId) -> Result<ShellKey, Failure> {
        if self.open.len() >= SHELLS_OPEN_MAX {
            let many = format!("{SHELLS_OPEN_MAX} shells are open: close one first");
            return Err(failure(pyro_proto::shim::FailureCode::Refused, many));
        }
        self.save_ends();
        let pruned = self.store.begin_shell(&self.workspace, &new).map_err(|error| record_failed(&error))?;
        for id in pruned {
            // What cannot be removed now is removed when the workspace is started again.
            let _ = std::fs::remove_file(self.place.shell_output(&id));
        }
        match Tape::create(&self.place.shell_output(&new.id), Keep::Tail) {
            Ok(tape) => Ok(self.enter(new, stream, tape)),
            Err(error) => {
                self.save_end(new.id, ShellEnd { outcome: ShellOutcome::Failed, exit_code: None });
                Err(system("the shell's output cannot be kept", &error))
            }
        }
    }

    fn enter(&mut self, new: NewShell, stream: StreamId, tape: Tape) -> ShellKey {
        self.next += 1;
        let key = ShellKey(self.next);
        self.open.insert(key, Shell { new, stream, typing: Typing::default(), closers: Vec::new(), tape });
        key
    }

    /// One that runs.
    pub(crate) fn get(&mut self, key: ShellKey) -> Option<&mut Shell> {
        self.open.get_mut(&key)
    }

    /// The one of this id, while it runs.
    pub(crate) fn find(&self, id: &str) -> Option<ShellKey> {
        self.open.iter().find(|(_, shell)| shell.new.id.as_str() == id).map(|(key, _)| *key)
    }

    /// Keeps what one prints.
    pub(crate) fn append(&mut self, key: ShellKey, bytes: &[u8]) {
        if let Some(shell) = self.open.get_mut(&key) {
            shell.tape.append(bytes);
        }
    }

    /// One has another size.
    pub(crate) fn resized(&mut self, key: ShellKey, size: TerminalSize) {
        let Some(shell) = self.open.get_mut(&key) else { return };
        (shell.new.columns, shell.new.rows) = (size.columns, size.rows);
        // For lists and screens alone; the terminal has it all the same.
        let _ = self.store.resize_shell(&self.workspace, &shell.new.id, size.columns, size.rows);
    }

    /// The window of somebody who sits at one has this size.
    pub(crate) fn window_resized(&mut self, owner: Owner, size: TerminalSize) {
        self.sizes_told += 1;
        if let Some(attached) = self.attached.get_mut(&owner).filter(|_| size.is_possible()) {
            attached.size = Some((self.sizes_told, size));
        }
    }

    /// Somebody does not sit at a shell any more; gives the size that it takes from those who still do, where the one who
    /// left had the last word.
    pub(crate) fn leave(&mut self, owner: Owner) -> Option<(ShellKey, StreamId, TerminalSize)> {
        let Attached { key, size: Some((left, _)), .. } = self.attached.remove(&owner)? else { return None };
        let others = self.attached.values().filter(|attached| attached.key == key);
        let (last, size) = others.filter_map(|attached| attached.size).max_by_key(|(told, _)| *told)?;
        let stream = self.open.get(&key)?.stream;
        (last < left).then_some((key, stream, size))
    }

    /// Where the output of one that runs is, from some byte on.
    pub(crate) fn source(&self, key: ShellKey, from: u64) -> Option<Source> {
        let shell = self.open.get(&key)?;
        let reader = OutputReader::open(&self.place.shell_output(&shell.new.id));
        Some(Source { stdout: reader.ok().map(Reader::Output), stderr: None, from, ended: None })
    }

    /// Records that one has ended, and how.
    pub(crate) fn end(
        &mut self,
        key: ShellKey,
        answer: &Result<Exited, agent::Failure>,
    ) -> Option<ShellEnded> {
        let shell = self.open.remove(&key)?;
        let end = match answer {
            Ok(_) if !shell.closers.is_empty() => {
                ShellEnd { outcome: ShellOutcome::Closed, exit_code: exit_code(answer) }
            }
            Ok(exited) => ShellEnd { outcome: outcome(exited.outcome), exit_code: exit_code(answer) },
            Err(_) => ShellEnd { outcome: ShellOutcome::Failed, exit_code: None },
        };
        let reply = match answer {
            Ok(exited) => Reply::Exited(*exited),
            Err(error) => Reply::Refused(error.clone()),
        };
        let ended = Ended { reply, stdout_bytes: shell.tape.seen_bytes(), stderr_bytes: 0 };
        let writers = shell.typing.writers().collect();
        self.save_end(shell.new.id, end);
        Some(ShellEnded { ended, closers: shell.closers, writers })
    }

    /// The VM ends, and they with it, unless they are to go on.
    pub(crate) fn end_all(&mut self, fate: Fate) {
        for (_, shell) in std::mem::take(&mut self.open) {
            if fate == Fate::Paused {
                continue;
            }
            self.save_end(shell.new.id, ShellEnd { outcome: ShellOutcome::Lost, exit_code: None });
        }
    }

    /// Where a client sits.
    pub(crate) fn seats_of(&self, client: ClientId) -> Vec<Owner> {
        self.attached.keys().filter(|owner| owner.0 == client).copied().collect()
    }

    /// A client has left: what it had typed is dropped, and it waits for nothing.
    pub(crate) fn forget(&mut self, client: ClientId) {
        self.attached.retain(|owner, _| owner.0 != client);
        for shell in self.open.values_mut() {
            shell.typing.forget(client);
            // That it was to be closed is not forgotten with who asked for it.
        }
    }

    /// Whether a client waits for one on this stream.
    pub(crate) fn has(&self, owner: Owner) -> bool {
        self.waiting().any(|waiting| waiting == owner)
    }

    /// Everybody who waits for an answer.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = Owner> + '_ {
        self.open.values().flat_map(|shell| shell.closers.iter().copied().chain(shell.typing.writers()))
    }

    fn save_end(&mut self, id: ShellId, end: ShellEnd) {
        self.unsaved.insert(id, end);
        self.save_ends();
    }

    /// What the database does not take now is tried again with the next one; at last it is recorded as lost by who
    /// starts the workspace next.
    fn save_ends(&mut self) {
        let (store, workspace) = (&self.store, &self.workspace);
        self.unsaved.retain(|id, end| store.end_shell(workspace, id, end).is_err());
    }
}

fn exit_code(answer: &Result<Exited, agent::Failure>) -> Option<u8> {
    answer.as_ref().ok().and_then(|exited| end_of(exited).exit_code)
}

fn outcome(outcome: Outcome) -> ShellOutcome {
    match outcome {
        Outcome::Code(_) => ShellOutcome::Exited,
        Outcome::OutOfMemory => ShellOutcome::OutOfMemory,
        Outcome::Signal(_) | Outcome::TimedOut => ShellOutcome::Signaled,
    }
}
