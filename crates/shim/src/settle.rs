//! The last word to a workspace's guest: write everything to the disk. Bounded; a guest that does not is ended
//! all the same, with what it has written by then.

use pyro_proto::{Frame, Kind, agent, encode};
use pyro_vmm::Vm;

use crate::limits::SYNC_SECONDS_MAX;
use crate::link::AgentLink;

/// Lets the guest write its disk out. What else it sends is passed over: all its calls have been answered.
pub(crate) async fn settle<V: Vm>(vm: &mut V, link: &mut AgentLink) {
    let stream = link.next_stream();
    let Ok(payload) = encode(&agent::Request::Sync) else { return };
    if link.send(Frame { stream, kind: Kind::Open, payload }).is_err() {
        return;
    }
    let answered = async {
        while let Ok(frame) = link.next().await {
            if frame.stream == stream && frame.kind == Kind::Reply {
                return;
            }
        }
    };
    tokio::select! {
        () = answered => {}
        _ = vm.wait() => {}
        () = tokio::time::sleep(SYNC_SECONDS_MAX) => {}
    }
}
