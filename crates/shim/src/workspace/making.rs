//! Workspaces that are made: from a template, or as copies of others.

use pyro_proto::shim::{self, Failure, FailureCode, NewFork, Start};
use pyro_store::{
    Directories, ImageKey, KeptImage, Labels, LayerId, NewWorkspace, Origin, Seed, SeedKind, Store,
    WorkspaceId, WorkspaceName,
};
use pyro_vmm::{Template, VmmError};

use super::{Coming, Opened, birth_lock, chain, new_layer_id, nonsense, opened};
use crate::bringup::parse_key;
use crate::failure::{claim_failed, failure, system, vmm_failed};

/// On the disk of the template that its VM is forked from.
pub(super) fn create(
    store: &Store,
    directories: &Directories,
    start: &Start,
    order: &shim::Workspace,
    (id, new): (WorkspaceId, &shim::NewWorkspace),
) -> Result<Opened, Failure> {
    let template = Template::open(&order.template.to_path(), &parse_key(&order.template_key)?)
        .map_err(|error| vmm_failed(&VmmError::Template(error)))?;
    let disk = template.disk().ok_or_else(|| {
        failure(FailureCode::TemplateUnusable, "the template has no disk for what is made from it")
    })?;
    let layer = LayerId::parse(disk.id).map_err(|error| nonsense(&error))?;
    let key = |text: &str| ImageKey::parse(text).map_err(|error| nonsense(&error));
    let seed = new.seed.as_ref().map(|seed| {
        let kind = SeedKind::parse(&seed.kind)
            .ok_or_else(|| failure(FailureCode::System, "the order names no kind of seed"))?;
        Ok::<_, Failure>(Seed { kind, path: seed.path.to_path() })
    });
    let workspace = NewWorkspace {
        id,
        name: name(new.name.as_deref())?,
        labels: labels(&new.labels)?,
        environment: start.environment.clone(),
        base_digest: key(&new.base_digest)?,
        blank_recipe: key(&new.blank_recipe)?,
        accelerator: start.machine.accelerator.as_str().to_owned(),
        vcpu_count: start.machine.vcpu_count,
        memory_mib: start.machine.memory_mib,
        ttl_seconds: start.ttl_seconds,
        seed: seed.transpose()?,
        head: new_layer_id()?,
        origin: Origin::Template { layer: layer.clone(), file: disk.path.to_owned() },
    };
    let birth = birth_lock(directories)?;
    let claim = store
        .create_workspace(directories, &workspace, &new.base.to_path(), &new.blank.to_path())
        .map_err(|error| claim_failed(&error))?;
    let coming = if workspace.seed.is_some() { Coming::Unseeded } else { Coming::Empty };
    Ok(opened(directories, (claim, birth), &workspace, (vec![layer], &workspace.head), coming))
}

/// On a layer of another one's disk.
pub(super) fn fork(
    store: &Store,
    directories: &Directories,
    start: &Start,
    order: &shim::Workspace,
    (id, fork): (WorkspaceId, &NewFork),
) -> Result<Opened, Failure> {
    let source = WorkspaceId::parse(&fork.source).map_err(|error| nonsense(&error))?;
    let layer = LayerId::parse(&fork.layer).map_err(|error| nonsense(&error))?;
    let record = store.workspace(&source).map_err(|error| system("the state cannot be used", &error))?;
    let gone = || failure(FailureCode::WorkspaceGone, format!("there is no workspace {source}"));
    let workspace = NewWorkspace {
        id,
        name: name(fork.name.as_deref())?,
        labels: labels(&fork.labels)?,
        ttl_seconds: start.ttl_seconds,
        head: new_layer_id()?,
        origin: Origin::Layer(layer.clone()),
        ..record.ok_or_else(gone)?.workspace
    };
    let birth = birth_lock(directories)?;
    let layers = chain(store, &layer)?;
    let base = directories.kept_image(KeptImage::Base(&workspace.base_digest));
    let blank = directories.kept_image(KeptImage::Blank(&workspace.blank_recipe));
    let claim = store
        .create_workspace(directories, &workspace, &base, &blank)
        .map_err(|error| claim_failed(&error))?;
    let coming = Coming::Forked { memory: order.memory };
    Ok(opened(directories, (claim, birth), &workspace, (layers, &workspace.head), coming))
}

fn name(text: Option<&str>) -> Result<Option<WorkspaceName>, Failure> {
    text.map(WorkspaceName::parse).transpose().map_err(|error| nonsense(&error))
}

fn labels(pairs: &[(String, String)]) -> Result<Labels, Failure> {
    let pairs = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    Labels::parse(pairs).map_err(|error| nonsense(&error))
}
