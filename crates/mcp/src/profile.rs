//! How many tools a client sees.

/// A set of tools; each has those of the ones before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// One tool: a command in a fresh VM.
    VmRun,
    /// What a chat about code needs.
    #[default]
    WorkspaceCore,
    /// Everything.
    WorkspaceFull,
}

impl Profile {
    /// All, the smallest first.
    pub const ALL: [Profile; 3] = [Profile::VmRun, Profile::WorkspaceCore, Profile::WorkspaceFull];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Profile::VmRun => "vm-run",
            Profile::WorkspaceCore => "workspace-core",
            Profile::WorkspaceFull => "workspace-full",
        }
    }
}
