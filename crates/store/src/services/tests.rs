//! Records of services: one to a name, as many as there may be, and what shall run survives what ran.

use super::*;
use crate::Durability;
use crate::workspaces::tests::new_workspace;

fn new(name: &str) -> NewService {
    NewService {
        name: ServiceName::parse(name).unwrap(),
        definition: vec![1, 2, 255],
        command: vec!["python3".to_owned(), "app.py".to_owned()],
        directory: "/workspace".to_owned(),
        user: Some("web".to_owned()),
        readiness: "tcp".to_owned(),
        target: Some("localhost:80".to_owned()),
        restart: "always".to_owned(),
    }
}

fn with_workspace(test: impl FnOnce(Store, WorkspaceId)) {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(&root.path().join("pyro.db"), Durability::Crash).unwrap();
    let workspace = new_workspace(None);
    store.insert_workspace(&workspace).unwrap();
    store.set_ready(&workspace.id, None).unwrap();
    test(store, workspace.id);
}

/// What is recorded of a service is read back; a new start of its name begins anew; a lost one is still wanted.
#[test]
fn records_round_trip() {
    with_workspace(|store, id| {
        let service = new("web");
        store.begin_service(&id, &service).unwrap();
        let news = ServiceNews {
            state: ServiceState::Running,
            wanted: true,
            restarts: 2,
            ready: Some(from_ms(1_700_000_000_000)),
            ended: Some(from_ms(1_700_000_000_001)),
            exit_code: Some(3),
            reason: Some("signal 9 ended it".to_owned()),
        };
        store.set_service(&id, &service.name, &news).unwrap();
        let record = store.service(&id, &service.name).unwrap().unwrap();
        assert_eq!((&record.service, &record.news), (&service, &news));
        store.lose_services(&id).unwrap();
        let lost = store.service(&id, &service.name).unwrap().unwrap().news;
        assert_eq!((lost.state, lost.wanted, lost.exit_code), (ServiceState::Lost, true, None));
        store.begin_service(&id, &service).unwrap();
        let again = store.services(&id).unwrap();
        assert_eq!(again.len(), 1);
        assert_eq!(again[0].news, ServiceNews { wanted: true, ..ServiceNews::default() });
        for state in ServiceState::ALL {
            assert_eq!(ServiceState::parse(state.as_str()), Some(state));
        }
    });
}

/// One too many is refused, and changes nothing.
#[test]
fn services_are_bounded() {
    with_workspace(|store, id| {
        for n in 0..SERVICES_MAX {
            store.begin_service(&id, &new(&format!("s{n}"))).unwrap();
        }
        assert!(matches!(store.begin_service(&id, &new("more")), Err(RecordError::ServicesTooMany)));
        store.begin_service(&id, &new("s0")).unwrap();
        let order: Vec<String> =
            store.services(&id).unwrap().iter().map(|it| it.service.name.to_string()).collect();
        assert_eq!(
            (order[0].as_str(), order[SERVICES_MAX - 1].as_str()),
            ("s1", "s0"),
            "as they were started"
        );
        assert_eq!(store.services(&id).unwrap().len(), SERVICES_MAX);
        let long = NewService { definition: vec![0; SERVICE_DEFINITION_BYTES_MAX + 1], ..new("s0") };
        assert!(matches!(store.begin_service(&id, &long), Err(RecordError::ServiceTooLong)));
    });
}
