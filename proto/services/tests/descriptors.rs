//! Packages of version 1 only grow: a field, method or enum value that was released keeps its number,
//! type and name.
//!
//! `RUNYARD_UPDATE_DESCRIPTORS=1 cargo test -p runyard-proto` writes the baseline anew, for additions.

use std::path::PathBuf;

use prost_reflect::{DescriptorPool, FieldDescriptor};

fn baseline_path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("released.binpb")
}

fn form(field: &FieldDescriptor) -> String {
    format!("{} {:?} {:?}", field.name(), field.cardinality(), field.kind())
}

/// What of `before` is missing or different in `now`.
fn broken(before: &DescriptorPool, now: &DescriptorPool) -> Vec<String> {
    let mut found = Vec::new();
    for message in before.all_messages() {
        let Some(current) = now.get_message_by_name(message.full_name()) else {
            found.push(format!("message {} is gone", message.full_name()));
            continue;
        };
        for field in message.fields() {
            match current.get_field(field.number()) {
                None => found.push(format!("{} is gone", field.full_name())),
                Some(same) if form(&same) != form(&field) => {
                    found.push(format!(
                        "{} was {}, is {}",
                        field.full_name(),
                        form(&field),
                        form(&same)
                    ));
                }
                Some(_) => {}
            }
        }
    }
    for value in before.all_enums().flat_map(|e| e.values().collect::<Vec<_>>()) {
        let same = now
            .get_enum_by_name(value.parent_enum().full_name())
            .and_then(|e| e.get_value(value.number()))
            .is_some_and(|current| current.name() == value.name());
        if !same {
            found.push(format!("enum value {} changed", value.full_name()));
        }
    }
    for method in before.services().flat_map(|s| s.methods().collect::<Vec<_>>()) {
        let same = now
            .get_service_by_name(method.parent_service().full_name())
            .and_then(|service| service.methods().find(|own| own.name() == method.name()))
            .is_some_and(|own| {
                own.input().full_name() == method.input().full_name()
                    && own.output().full_name() == method.output().full_name()
                    && own.is_client_streaming() == method.is_client_streaming()
                    && own.is_server_streaming() == method.is_server_streaming()
            });
        if !same {
            found.push(format!("method {} changed", method.full_name()));
        }
    }
    found
}

#[test]
fn version_one_only_grows() {
    let now = DescriptorPool::decode(runyard_proto::descriptor_set()).expect("descriptors");
    if std::env::var_os("RUNYARD_UPDATE_DESCRIPTORS").is_some() {
        std::fs::write(baseline_path(), runyard_proto::descriptor_set()).expect("written");
    }
    let before = std::fs::read(baseline_path()).expect("the baseline is committed");
    let before = DescriptorPool::decode(before.as_slice()).expect("descriptors");
    assert_eq!(broken(&before, &now), Vec::<String>::new());
}

#[test]
fn a_changed_field_is_found() {
    let now = DescriptorPool::decode(runyard_proto::descriptor_set()).expect("descriptors");
    assert_eq!(broken(&DescriptorPool::new(), &now), Vec::<String>::new());
    assert!(!broken(&now, &DescriptorPool::new()).is_empty());
}
