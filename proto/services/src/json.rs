//! The JSON form of messages: the proto's field names, enums by name, integers as numbers.

use std::sync::OnceLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, SerializeOptions};

static DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Why a message has no JSON form, or a JSON text is no such message.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The message type is not one of the project's.
    #[error("there is no message type `{0}`")]
    UnknownType(String),
    /// The bytes of the message do not fit its type.
    #[error("cannot read a message of type `{name}`")]
    Message {
        name: String,
        #[source]
        source: prost::DecodeError,
    },
    /// The JSON does not fit the type.
    #[error("cannot read JSON as a message of type `{name}`")]
    Json {
        name: String,
        #[source]
        source: serde_json::Error,
    },
}

/// The encoded `FileDescriptorSet` of all packages.
pub fn descriptor_set() -> &'static [u8] {
    DESCRIPTORS
}

fn pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| {
        DescriptorPool::decode(DESCRIPTORS).expect("the build script compiled these descriptors")
    })
}

fn descriptor(name: &str) -> Result<prost_reflect::MessageDescriptor, JsonError> {
    pool().get_message_by_name(name).ok_or_else(|| JsonError::UnknownType(name.into()))
}

/// The JSON form of `message`, whose full type name is `name` (e.g. `runyard.v1.Run`).
pub fn to_json(name: &str, message: &impl Message) -> Result<serde_json::Value, JsonError> {
    let dynamic = DynamicMessage::decode(descriptor(name)?, message.encode_to_vec().as_slice())
        .map_err(|source| JsonError::Message { name: name.into(), source })?;
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(false)
        .skip_default_fields(false);
    dynamic
        .serialize_with_options(serde_json::value::Serializer, &options)
        .map_err(|source| JsonError::Json { name: name.into(), source })
}

/// Reads a message of type `name` from its JSON form; unknown fields are refused.
pub fn from_json<M: Message + Default>(name: &str, json: &str) -> Result<M, JsonError> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let dynamic = DynamicMessage::deserialize_with_options(
        descriptor(name)?,
        &mut deserializer,
        &DeserializeOptions::new().deny_unknown_fields(true),
    )
    .map_err(|source| JsonError::Json { name: name.into(), source })?;
    M::decode(dynamic.encode_to_vec().as_slice())
        .map_err(|source| JsonError::Message { name: name.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1;

    #[test]
    fn integers_are_numbers_and_names_those_of_the_proto() {
        let run = v1::Run { name: "digits-1".into(), created_ms: 1 << 53, ..Default::default() };
        let json = to_json("runyard.v1.Run", &run).expect("json");
        assert_eq!(json["created_ms"], serde_json::json!(1u64 << 53));
        assert_eq!(json["name"], "digits-1");
        assert_eq!(json["ended_ms"], 0, "defaults are shown, so that readers need no schema");
        let back: v1::Run = from_json("runyard.v1.Run", &json.to_string()).expect("message");
        assert_eq!(back, run);
    }

    #[test]
    fn unknown_fields_and_types_are_refused() {
        assert!(from_json::<v1::Run>("runyard.v1.Run", r#"{"nome":"x"}"#).is_err());
        assert!(matches!(
            to_json("runyard.v1.Nothing", &v1::Run::default()),
            Err(JsonError::UnknownType(_))
        ));
    }
}
