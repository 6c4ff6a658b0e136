//! The closed list of errors that a client may see.
//!
//! Numbers and names are those of `ErrorReason` in `proto/mq/v1/error.proto`, where the metadata of each stands; they
//! are never renumbered or reused. How a protocol words them (a gRPC status, a Kafka error code) is its own business.

use std::fmt;

/// Declares the codes once: variant, number, name.
macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal;)*) => {
        /// What went wrong, as a client sees it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum ErrorCode {
            $($(#[$doc])* $variant = $number,)*
        }

        impl ErrorCode {
            /// Every code, in the order of their numbers.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$variant,)*];

            /// The code with this number, if there is one.
            pub fn from_number(number: u16) -> Option<ErrorCode> {
                match number {
                    $($number => Some(ErrorCode::$variant),)*
                    _ => None,
                }
            }

            /// Its stable name, e.g. `NOT_LEADER`.
            pub fn name(self) -> &'static str {
                match self {
                    $(ErrorCode::$variant => $name,)*
                }
            }
        }
    };
}

codes! {
    /// A field of the request is wrong.
    InvalidRequest = 1, "INVALID_REQUEST";
    /// The caller did not say who it is, or is not believed.
    Unauthenticated = 2, "UNAUTHENTICATED";
    /// The caller may not do this.
    Forbidden = 3, "FORBIDDEN";
    /// This broker cannot do this.
    Unimplemented = 4, "UNIMPLEMENTED";
    /// A fault of the broker.
    Internal = 5, "INTERNAL";
    /// A queue or the memory of the broker is full; nothing was done.
    Overloaded = 6, "OVERLOADED";
    /// The caller's quota is used up for now.
    QuotaExceeded = 7, "QUOTA_EXCEEDED";
    /// The client sends but does not receive.
    AnswersNotRead = 8, "ANSWERS_NOT_READ";
    /// Another broker leads the partition.
    NotLeader = 10, "NOT_LEADER";
    /// Nobody leads: an election, or a majority is away.
    NoLeader = 11, "NO_LEADER";
    /// It may or may not have been appended.
    OutcomeUnknown = 12, "OUTCOME_UNKNOWN";
    /// There is no room for more records; writing resumes by itself once there is.
    DiskFull = 13, "DISK_FULL";
    /// The data asked for is damaged on this broker.
    CorruptLog = 14, "CORRUPT_LOG";
    /// There is no such topic.
    UnknownTopic = 20, "UNKNOWN_TOPIC";
    /// The topic has fewer partitions.
    UnknownPartition = 21, "UNKNOWN_PARTITION";
    /// The topic was deleted and created again.
    TopicIdMismatch = 22, "TOPIC_ID_MISMATCH";
    /// A topic of that name exists.
    TopicExists = 23, "TOPIC_EXISTS";
    /// There is no such broker.
    UnknownBroker = 24, "UNKNOWN_BROKER";
    /// The batch is larger than the topic allows.
    BatchTooLarge = 30, "BATCH_TOO_LARGE";
    /// The batch is not what its format demands.
    CorruptBatch = 31, "CORRUPT_BATCH";
    /// It was appended before, too long ago to know its offset.
    DuplicateSequence = 32, "DUPLICATE_SEQUENCE";
    /// A batch of this producer is missing before this one.
    OutOfOrderSequence = 33, "OUT_OF_ORDER_SEQUENCE";
    /// The producer id has expired: it must be asked for anew.
    UnknownProducer = 34, "UNKNOWN_PRODUCER";
    /// A newer producer or member has taken over.
    FencedEpoch = 35, "FENCED_EPOCH";
    /// A conditional append: the partition has moved on.
    UnexpectedNextOffset = 36, "UNEXPECTED_NEXT_OFFSET";
    /// Some records of the request were appended, some were not.
    PartlyAppended = 37, "PARTLY_APPENDED";
    /// The offset is below the log start or beyond the end.
    OffsetOutOfRange = 40, "OFFSET_OUT_OF_RANGE";
    /// The offset is not known to be readable yet.
    OffsetNotAvailable = 41, "OFFSET_NOT_AVAILABLE";
    /// There is no such group.
    UnknownGroup = 50, "UNKNOWN_GROUP";
    /// The group does not know the member: it must join again.
    UnknownMember = 51, "UNKNOWN_MEMBER";
    /// The group still has members.
    GroupNotEmpty = 52, "GROUP_NOT_EMPTY";
    /// The lock has expired, or the record was acknowledged.
    LockLost = 60, "LOCK_LOST";
}

impl ErrorCode {
    /// Its number, as in `error.proto`.
    pub fn number(self) -> u16 {
        self as u16
    }

    /// Whether the request was certainly not carried out and is worth sending again unchanged, perhaps elsewhere.
    pub fn retriable(self) -> bool {
        matches!(
            self,
            ErrorCode::Overloaded
                | ErrorCode::QuotaExceeded
                | ErrorCode::NotLeader
                | ErrorCode::NoLeader
                | ErrorCode::DiskFull
                | ErrorCode::OffsetNotAvailable
        )
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
