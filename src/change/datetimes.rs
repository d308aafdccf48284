//! What a DATETIME becomes in a lake table, and of which zone's calendar a changelog's days are.
//!
//! A generation keeps what it was begun with: nobody could tell which of its rows were written under which zone. Prints and parses back,
//! as `instant in Asia/Shanghai`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How DATETIME is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatetimeEncoding {
    /// As an instant: the wall clock read in the zone; one that the zone skips or doubles parks.
    Instant,
    /// As MySQL prints it.
    String,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datetimes {
    /// How DATETIME is stored.
    pub encoding: DatetimeEncoding,
    /// IANA name of the zone that DATETIME is read in and days are cut by, e.g. `UTC`.
    pub zone: String,
}

/// A text that says nothing of DATETIMEs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} does not say what a DATETIME becomes (`instant in ZONE` or `string in ZONE`)")]
pub struct ParseDatetimesError(String);

impl fmt::Display for Datetimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encoding = match self.encoding {
            DatetimeEncoding::Instant => "instant",
            DatetimeEncoding::String => "string",
        };
        write!(f, "{encoding} in {}", self.zone)
    }
}

impl FromStr for Datetimes {
    type Err = ParseDatetimesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.split_once(" in ").and_then(|(encoding, zone)| {
            let encoding = match encoding {
                "instant" => DatetimeEncoding::Instant,
                "string" => DatetimeEncoding::String,
                _ => return None,
            };
            (!zone.is_empty()).then(|| Self { encoding, zone: zone.to_owned() })
        });
        parsed.ok_or_else(|| ParseDatetimesError(text.to_owned()))
    }
}

impl Serialize for Datetimes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Datetimes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_parsed_and_nothing_else() {
        for text in ["instant in UTC", "string in Asia/Shanghai", "instant in Etc/GMT-8"] {
            let parsed: Datetimes = text.parse().unwrap();
            assert_eq!(parsed.to_string(), text);
            let document = serde_json::to_string(&parsed).unwrap();
            assert_eq!(document, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Datetimes>(&document).unwrap(), parsed);
        }
        for text in ["", "instant", "instant in ", "Instant in UTC", "UTC", "text in UTC"] {
            assert!(text.parse::<Datetimes>().is_err(), "{text:?}");
        }
    }
}
