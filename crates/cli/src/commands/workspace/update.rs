//! `pyro workspace update`

use pyro::{Code, Failure, Pyro, UpdateRequest};

use super::status::show;
use crate::arguments::workspace::Update;
use crate::exit::Status;

pub(super) async fn run(pyro: &Pyro, arguments: Update) -> Result<Status, Failure> {
    let request = UpdateRequest {
        name: if arguments.clear_name { Some(None) } else { arguments.name.map(Some) },
        labels: arguments.labels,
        clear_labels: arguments.clear_labels,
        ttl_seconds: arguments.ttl_seconds,
    };
    if request == UpdateRequest::default() {
        return Err(Failure::new(Code::InvalidArgument, "there is nothing to update")
            .fix("give --name, --clear-name, --label, --clear-label or --ttl-seconds"));
    }
    let info = pyro.update_workspace(&arguments.one.workspace, request).await?;
    Ok(show(&info, arguments.one.json))
}
