//! How the program's types are read from columns. Text that does not parse is an error of the row; no
//! default takes its place.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::sqlite::{Sqlite, SqliteArgumentsBuffer, SqliteTypeInfo, SqliteValueRef};
use sqlx::{Decode, Encode, Type};

use crate::job::{
    EventCursor, Evidence, JobId, PollPrice, ProviderName, RemoteId, SimilarityKeys, State, UtcTime,
};

use super::cursor::to_cursor;
use super::time::{parse_sql, to_sql};

macro_rules! text_column {
    ($type:ty, $parse:expr) => {
        impl Type<Sqlite> for $type {
            fn type_info() -> SqliteTypeInfo {
                <str as Type<Sqlite>>::type_info()
            }
            fn compatible(info: &SqliteTypeInfo) -> bool {
                <str as Type<Sqlite>>::compatible(info)
            }
        }
        impl<'r> Decode<'r, Sqlite> for $type {
            fn decode(value: SqliteValueRef<'r>) -> Result<Self, BoxDynError> {
                let text = <&str as Decode<Sqlite>>::decode(value)?;
                let parse: fn(&str) -> Option<$type> = $parse;
                parse(text).ok_or_else(|| format!("{text:?} is not a {}", stringify!($type)).into())
            }
        }
    };
}

text_column!(UtcTime, parse_sql);
text_column!(State, |text| text.parse().ok());
text_column!(ProviderName, |text| text.parse().ok());
text_column!(RemoteId, |text| text.parse().ok());
text_column!(PollPrice, |text| text.parse().ok());
text_column!(SimilarityKeys, |text| serde_json::from_str(text).ok());
text_column!(Evidence, |text| {
    [Evidence::Observed, Evidence::Reported, Evidence::Local]
        .into_iter()
        .find(|evidence| evidence.as_str() == text)
});

macro_rules! integer_column {
    ($type:ty, $convert:expr) => {
        impl Type<Sqlite> for $type {
            fn type_info() -> SqliteTypeInfo {
                <i64 as Type<Sqlite>>::type_info()
            }
            fn compatible(info: &SqliteTypeInfo) -> bool {
                <i64 as Type<Sqlite>>::compatible(info)
            }
        }
        impl<'r> Decode<'r, Sqlite> for $type {
            fn decode(value: SqliteValueRef<'r>) -> Result<Self, BoxDynError> {
                let convert: fn(i64) -> Result<$type, BoxDynError> = $convert;
                convert(<i64 as Decode<Sqlite>>::decode(value)?)
            }
        }
    };
}

integer_column!(JobId, |id| Ok(JobId(id)));
integer_column!(EventCursor, to_cursor);

impl Encode<'_, Sqlite> for UtcTime {
    fn encode_by_ref(&self, buffer: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
        <String as Encode<Sqlite>>::encode(to_sql(*self), buffer)
    }
}
