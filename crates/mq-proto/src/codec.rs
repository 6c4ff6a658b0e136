//! The codec of all services: prost's, with a look at a request before it is decoded.
//!
//! A message of two bytes on the wire (an empty record) becomes a hundred in memory, so the size of a request says
//! little about what decoding it takes. The look counts what a decoder would make a list element of, without
//! allocating anything, and refuses a request with too many. What the elements mean is not known here.

use prost::encoding::decode_varint;
use prost::{Message, Name};
use prost_types::FileDescriptorSet;
use prost_types::field_descriptor_proto::{Label, Type};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::OnceLock;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::ProstEncoder;

/// Elements of all lists of one request together: records, headers, partitions. Decoded, they take some 32 MiB.
pub const REQUEST_ELEMENTS_MAX_COUNT: u32 = 1 << 18;

/// Messages lie within messages at most so deep; prost goes no deeper either.
const DEPTH_MAX: u32 = 100;

/// Encodes `T` and decodes `U`.
#[derive(Clone, Copy, Debug)]
pub struct BoundedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> Self {
        BoundedCodec(PhantomData)
    }
}

impl<T, U> Codec for BoundedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder { shape: shapes().of_request::<U>(), _decoded: PhantomData }
    }
}

/// Decodes `U`, if it is a request only after a look at it.
#[derive(Clone, Copy, Debug)]
pub struct BoundedDecoder<U> {
    /// The number of the request's shape; an answer has none: who asked for it knows what it may hold.
    shape: Option<usize>,
    _decoded: PhantomData<U>,
}

impl<U: Message + Name + Default> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        use prost::bytes::Buf;
        if let Some(shape) = self.shape {
            let whole = buffer.chunk();
            assert_eq!(whole.len(), buffer.remaining(), "a message lies in one piece before it is decoded");
            let mut left = REQUEST_ELEMENTS_MAX_COUNT;
            if shapes().count(shape, whole, &mut left, DEPTH_MAX) == Count::TooMany {
                return Err(Status::invalid_argument(format!(
                    "the lists of this request have more than {REQUEST_ELEMENTS_MAX_COUNT} elements; send several \
                     requests"
                )));
            }
        }
        U::decode(buffer).map(Some).map_err(|error| match self.shape {
            Some(_) => Status::invalid_argument(format!("this is no {}: {error}", U::NAME)),
            None => Status::internal(format!("this is no {}: {error}", U::NAME)),
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    /// Within the limit, as far as this is a message at all, which decoding finds out.
    Good,
    TooMany,
}

/// What of a message is looked at: the fields that are lists or messages, by number.
type Shape = BTreeMap<u64, Field>;

#[derive(Clone, Copy, Debug)]
struct Field {
    /// Each occurrence is an element of its own in memory.
    is_list: bool,
    /// The shape of the message that it is.
    message: Option<usize>,
}

/// The shapes of all messages of the API.
struct Shapes {
    numbers: BTreeMap<String, usize>,
    shapes: Vec<Shape>,
}

fn shapes() -> &'static Shapes {
    static SHAPES: OnceLock<Shapes> = OnceLock::new();
    SHAPES.get_or_init(Shapes::of_the_api)
}

impl Shapes {
    fn of_the_api() -> Shapes {
        let set = FileDescriptorSet::decode(crate::FILE_DESCRIPTOR_SET).expect("our own descriptors");
        let mut messages = Vec::new();
        for file in &set.file {
            let package = format!(".{}", file.package());
            let mut open: Vec<_> =
                file.message_type.iter().map(|message| (package.clone(), message)).collect();
            while let Some((within, message)) = open.pop() {
                let name = format!("{within}.{}", message.name());
                open.extend(message.nested_type.iter().map(|nested| (name.clone(), nested)));
                messages.push((name, message));
            }
        }
        let numbers: BTreeMap<String, usize> =
            messages.iter().enumerate().map(|(number, (name, _))| (name.clone(), number)).collect();
        let shape = |message: &prost_types::DescriptorProto| {
            let fields = message.field.iter().filter_map(|field| {
                let is_message = field.r#type() == Type::Message;
                let allocates = is_message || matches!(field.r#type(), Type::String | Type::Bytes);
                let is_list = allocates && field.label() == Label::Repeated;
                let message = is_message.then(|| numbers.get(field.type_name()).copied()).flatten();
                let number = u64::try_from(field.number()).expect("field numbers are positive");
                (is_list || message.is_some()).then_some((number, Field { is_list, message }))
            });
            fields.collect()
        };
        let shapes = messages.iter().map(|(_, message)| shape(message)).collect();
        Shapes { numbers, shapes }
    }

    fn of_request<U: Name>(&self) -> Option<usize> {
        let name = format!(".{}.{}", U::PACKAGE, U::NAME);
        U::NAME.ends_with("Request").then(|| self.numbers.get(&name).copied()).flatten()
    }

    /// Takes every element of a list in the message off `left`.
    fn count(&self, shape: usize, mut message: &[u8], left: &mut u32, depth: u32) -> Count {
        while !message.is_empty() {
            let Ok(key) = decode_varint(&mut message) else { return Count::Good };
            let length = match key & 7 {
                0 if decode_varint(&mut message).is_ok() => 0,
                1 => 8,
                2 => match decode_varint(&mut message) {
                    Ok(length) => length,
                    Err(_) => return Count::Good,
                },
                3 | 4 => 0, // a group: what is in it is looked at as if it were not
                5 => 4,
                _ => return Count::Good,
            };
            let Some((inner, rest)) =
                usize::try_from(length).ok().and_then(|length| message.split_at_checked(length))
            else {
                return Count::Good;
            };
            message = rest;
            let Some(field) = self.shapes[shape].get(&(key >> 3)) else { continue };
            if field.is_list {
                let Some(less) = left.checked_sub(1) else { return Count::TooMany };
                *left = less;
            }
            if let Some(shape) = field.message
                && key & 7 == 2
                && depth > 0
                && self.count(shape, inner, left, depth - 1) == Count::TooMany
            {
                return Count::TooMany;
            }
        }
        Count::Good
    }
}

#[cfg(test)]
mod tests;
