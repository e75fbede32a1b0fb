//! How our types are read from text columns. A text that does not parse is an error of the row, not
//! a default.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::sqlite::{Sqlite, SqliteArgumentsBuffer, SqliteTypeInfo, SqliteValueRef};
use sqlx::{Decode, Encode, Type};

use crate::job::{Evidence, JobId, ProviderName, RemoteId, SimilarityKeys, State, UtcTime};

macro_rules! text_column {
    ($type:ty, $read:expr) => {
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
                let read: fn(&str) -> Option<$type> = $read;
                read(text).ok_or_else(|| format!("{text:?} is not a {}", stringify!($type)).into())
            }
        }
    };
}

text_column!(UtcTime, UtcTime::parse_sql);
text_column!(State, |text| text.parse().ok());
text_column!(ProviderName, |text| text.parse().ok());
text_column!(RemoteId, |text| text.parse().ok());
text_column!(SimilarityKeys, |text| serde_json::from_str(text).ok());
text_column!(Evidence, |text| {
    [Evidence::Observed, Evidence::Reported, Evidence::Local]
        .into_iter()
        .find(|evidence| evidence.as_str() == text)
});

impl Encode<'_, Sqlite> for UtcTime {
    fn encode_by_ref(&self, buffer: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
        <String as Encode<Sqlite>>::encode(self.to_sql(), buffer)
    }
}

impl Type<Sqlite> for JobId {
    fn type_info() -> SqliteTypeInfo {
        <i64 as Type<Sqlite>>::type_info()
    }
    fn compatible(info: &SqliteTypeInfo) -> bool {
        <i64 as Type<Sqlite>>::compatible(info)
    }
}

impl<'r> Decode<'r, Sqlite> for JobId {
    fn decode(value: SqliteValueRef<'r>) -> Result<Self, BoxDynError> {
        <i64 as Decode<Sqlite>>::decode(value).map(JobId)
    }
}
