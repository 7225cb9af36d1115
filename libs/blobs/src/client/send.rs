//! The messages that carry a pack: encoded from the slices that were read, which are copied once, into the
//! buffer that is sent.

use bytes::{BufMut, Bytes};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use runyard_proto::v1::{UploadPackRequest, UploadPackResponse};
use tonic::Status;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic_prost::ProstCodec;

use crate::service::DATA_BYTES;

/// The number of `UploadPackRequest.data`.
const DATA_FIELD: u32 = 5;

/// A message whose data is in several places.
#[derive(Debug)]
pub(super) struct PackMessage {
    /// All but the data.
    pub(super) head: UploadPackRequest,
    pub(super) data: Vec<Bytes>,
}

impl PackMessage {
    /// Bytes of data.
    pub(super) fn len(&self) -> usize {
        self.data.iter().map(Bytes::len).sum()
    }

    fn encoded_len(&self) -> usize {
        let len = self.len();
        self.head.encoded_len() + 1 + encoded_len_varint(len as u64) + len
    }

    fn write(self, out: &mut impl BufMut) -> Result<(), prost::EncodeError> {
        let len = self.len();
        self.head.encode(out)?;
        if len > 0 {
            encode_key(DATA_FIELD, WireType::LengthDelimited, out);
            encode_varint(len as u64, out);
            for part in self.data {
                out.put_slice(&part);
            }
        }
        Ok(())
    }
}

/// Cuts a pack's parts into the data of messages.
#[derive(Debug)]
pub(super) struct Slices {
    parts: std::vec::IntoIter<Bytes>,
    rest: Bytes,
}

impl Slices {
    /// What lies at `offset` and behind it.
    pub(super) fn from_offset(parts: Vec<Bytes>, mut offset: u64) -> Self {
        let mut parts = parts.into_iter();
        let mut rest = Bytes::new();
        for mut part in parts.by_ref() {
            let skip = usize::try_from(offset).unwrap_or(usize::MAX).min(part.len());
            offset -= skip as u64;
            if skip < part.len() {
                rest = part.split_off(skip);
                break;
            }
        }
        Self { parts, rest }
    }

    /// The next [`DATA_BYTES`], or what is left of them; empty at the end.
    pub(super) fn next_data(&mut self) -> Vec<Bytes> {
        let (mut data, mut room) = (Vec::new(), DATA_BYTES);
        while room > 0 {
            if self.rest.is_empty() {
                match self.parts.next() {
                    Some(part) => self.rest = part,
                    None => break,
                }
            }
            let piece = self.rest.split_to(room.min(self.rest.len()));
            room -= piece.len();
            if !piece.is_empty() {
                data.push(piece);
            }
        }
        data
    }
}

/// Encodes [`PackMessage`] as an `UploadPackRequest`.
#[derive(Debug, Default)]
pub(super) struct PackCodec;

impl Codec for PackCodec {
    type Encode = PackMessage;
    type Decode = UploadPackResponse;
    type Encoder = Self;
    type Decoder = <ProstCodec<UploadPackRequest, UploadPackResponse> as Codec>::Decoder;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<UploadPackRequest, UploadPackResponse>::default().decoder()
    }
}

impl Encoder for PackCodec {
    type Item = PackMessage;
    type Error = Status;

    fn encode(&mut self, message: PackMessage, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.reserve(message.encoded_len());
        message.write(out).map_err(|error| Status::internal(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    #[test]
    fn slices_are_all_bytes_from_any_offset_on() {
        let sizes = [0, 1, DATA_BYTES, 3, DATA_BYTES * 2 + 5, 0, 9];
        let parts: Vec<Bytes> = sizes.iter().map(|&n| noise(n as u64, n).into()).collect();
        let whole = parts.concat();
        let near = (0..3).chain(DATA_BYTES - 2..DATA_BYTES + 6);
        for offset in near.chain([whole.len() - 1, whole.len(), whole.len() + 7]) {
            let mut slices = Slices::from_offset(parts.clone(), offset as u64);
            let mut seen = Vec::new();
            loop {
                let data = slices.next_data().concat();
                if data.is_empty() {
                    break;
                }
                seen.push(data);
            }
            let (last, full) = seen.split_last().map_or((0, &[][..]), |(l, f)| (l.len(), f));
            assert!(last <= DATA_BYTES && full.iter().all(|data| data.len() == DATA_BYTES));
            assert_eq!(seen.concat(), whole[offset.min(whole.len())..], "from {offset}");
        }
    }

    #[test]
    fn a_message_is_encoded_as_its_type_is() {
        let request = UploadPackRequest {
            project: "p".into(),
            pack: Bytes::from_static(&[7; 32]),
            size_bytes: 9,
            offset: 300,
            index: Bytes::from_static(b"index"),
            data: Bytes::new(),
        };
        for data in [vec![], vec![Bytes::from_static(b"one"), Bytes::from(noise(1, 999))]] {
            let message = PackMessage { head: request.clone(), data: data.clone() };
            let mut bytes = bytes::BytesMut::new();
            message.write(&mut bytes).expect("there is room");
            let read = UploadPackRequest::decode(bytes.freeze()).expect("it is one");
            assert_eq!(read, UploadPackRequest { data: data.concat().into(), ..request.clone() });
        }
    }
}
